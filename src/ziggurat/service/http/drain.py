"""Graceful shutdown: answers that have begun get time to finish, new requests are refused with a reason.

    SIGTERM or Ctrl-C, or what the server was started for is over
                          `/ready` and new generations answer 503. The port stays open, so that a load balancer reads
                          that answer; uvicorn alone closes it at once.
    no request is open, or DRAIN_S have passed
                          unfinished answers end with an error, streams with an error event; the port closes, and
                          answers are sent for CLOSING_S more
    a signal after that   every connection is cut

Background responses are not waited for: they are lost with the process.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import uvicorn

DRAIN_S = 30.0
"""Seconds for answers that have begun."""
CLOSING_S = 5
"""Seconds for the errors that end the other answers; a model's thread sends them after its current step."""


class Drains(Protocol):
    """What is shut down (`Services`)."""

    def drain(self) -> None:
        """Take no new request. A signal handler calls it: it only sets flags."""

    async def end(self) -> None:
        """End the answers that are still being written."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server with the shutdown above; calls `ready` once it accepts connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        services: Drains,
        ready: Callable[[], None],
        *,
        drain_s: float = DRAIN_S,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        """`over`: returns true when the server must end without a signal."""
        config.timeout_graceful_shutdown = CLOSING_S
        super().__init__(config)
        self._services, self._ready, self._drain_s, self._over = services, ready, drain_s, over
        self._signal: int | None = None
        self._ends_at: float | None = None  # when answers must have ended; None: the server goes on
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ends_at is None:
            self._signal = sig
            self._drain()
        else:
            super().handle_exit(sig, frame)
            self.force_exit = True  # uvicorn sets it for Ctrl-C only
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut)

    def _drain(self) -> None:
        self._ends_at = time.monotonic() + self._drain_s
        self._services.drain()

    async def on_tick(self, counter: int) -> bool:
        """uvicorn calls it ten times a second."""
        if self._ends_at is None and self._over():
            self._drain()
        if self._ends_at is not None and not self.should_exit:
            late = time.monotonic() >= self._ends_at
            if late:
                await self._services.end()
            if late or not self.server_state.tasks:
                self._exit()
        return await super().on_tick(counter)

    def _exit(self) -> None:
        if self._signal is None:
            self.should_exit = True
        else:
            super().handle_exit(self._signal, None)  # uvicorn raises the signal again once it has ended

    def _cut(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
