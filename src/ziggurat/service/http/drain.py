"""How a server ends: what was begun is finished within a time, and whoever asks meanwhile hears that it is ending.

    SIGTERM or Ctrl-C     `/ready` and new generations answer 503. The port stays open, so that a load balancer hears
                          it; uvicorn alone would close it at once.
    nothing is under way, or DRAIN_S have passed
                          what is still being written ends with an error, streams with an error event; the port
                          closes, and what was said is sent to the end for CLOSING_S more
    a second signal       every connection is cut

Not waited for: responses in the background, for nobody could fetch them afterwards.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from ziggurat.service.models.shelf import Shelf
from ziggurat.service.upstream.servers import Upstreams

DRAIN_S = 30.0
"""How long answers that were begun may be written on."""

CLOSING_S = 5
"""How long the errors that end the others may take to arrive; a model's thread tells them after the step it is in."""


class Drain:
    """All that writes answers, told to end."""

    def __init__(self, shelf: Shelf, upstreams: Upstreams) -> None:
        self._shelf, self._upstreams = shelf, upstreams

    def begin(self) -> None:
        """Take nothing new. May be called by a signal's handler: it sets flags and waits for nobody."""
        self._shelf.drain()
        self._upstreams.draining = True

    async def end(self) -> None:
        """End what is still being written."""
        self._shelf.close(timeout_s=0)
        await self._upstreams.close()


class DrainingServer(uvicorn.Server):
    """uvicorn's, saying when it can be reached, and ending as is told above."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, ready: Callable[[], None], drain_s: float = DRAIN_S
    ) -> None:
        config.timeout_graceful_shutdown = CLOSING_S
        super().__init__(config)
        self._drain, self._ready, self._drain_s = drain, ready, drain_s
        self._signal: int | None = None
        self._ends_at = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal, self._ends_at = sig, time.monotonic() + self._drain_s
            self._drain.begin()
        else:
            super().handle_exit(sig, frame)
            self.force_exit = True  # uvicorn does so for Ctrl-C alone
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._signal is not None and not self.should_exit:
            late = time.monotonic() >= self._ends_at
            if late:
                await self._drain.end()
            if late or not self.server_state.tasks:
                super().handle_exit(self._signal, None)
        return await super().on_tick(counter)

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
