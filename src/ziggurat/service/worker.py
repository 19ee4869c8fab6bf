"""One thread per model: requests wait in a bounded line, deltas come back to the event loop one by one.

The event loop never runs a model, and the model's thread never builds JSON or writes a log. The thread goes round the
answers that are running and takes one delta of each; the engine below computes them as one batch, so a round costs one
step. Different models run beside each other. A request that is cancelled while it waits leaves the line at once; one
that is running is closed before its next delta, which frees its engine slot.

    unopened --submit()--> open --close()--> closed        (close() may be called twice; submit() after it is refused)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ziggurat.errors import BusyError

if TYPE_CHECKING:
    from ziggurat.engine.params import SamplingParams
    from ziggurat.records import Message


class DeltaLike(Protocol):
    """A piece of text as it appears; the last one carries the finish reason and the token counts."""

    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> str | None: ...
    @property
    def usage(self) -> Any: ...


class ChatLike(Protocol):
    """What the service needs of `dialogue.chat.Chat`; tests hand in a fake."""

    @property
    def is_base(self) -> bool: ...
    def fit(self, messages: Sequence[Message], reserve: int) -> tuple[list[Message], int]: ...
    def stream(
        self, messages: Sequence[Message], params: SamplingParams, *, stop: Sequence[str] = ()
    ) -> Iterator[DeltaLike]: ...


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked of a model."""

    messages: Sequence[Message]
    params: SamplingParams
    stop: Sequence[str] = ()
    fit: bool = (
        False  # drop the oldest turns of a conversation that outgrew the context, instead of refusing it
    )


class Ticket:
    """One request on its way through a model's thread. Its async half belongs to the event loop that made it."""

    def __init__(self, worker: ModelWorker, ask: Ask) -> None:
        self.worker, self.ask = worker, ask
        self.cancelled = False
        self.dropped = 0  # messages that no longer fitted
        self.t_submitted = self.t_started = self.t_first = self.t_finished = time.perf_counter()
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[DeltaLike | BaseException | None] = asyncio.Queue()

    async def next(self) -> DeltaLike | None:
        """The next delta; None after the last; what the model raised is raised here. Safe to cancel while waiting."""
        item = await self._arrived.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        """Stop as soon as possible. May be called at any time, and twice."""
        self.worker.cancel(self)

    def put(self, item: DeltaLike | BaseException | None) -> None:
        """Called on the model's thread. A loop that has gone away counts as a client that has gone away."""
        try:
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, item)
        except RuntimeError:
            self.cancelled = True


@dataclass
class _Running:
    """A ticket whose answer is being written."""

    ticket: Ticket
    deltas: Iterator[DeltaLike]
    begun: bool = False


class ModelWorker:
    """The thread of one model and the line before it."""

    def __init__(self, name: str, chat: ChatLike, *, max_running: int, max_waiting: int) -> None:
        self.name, self.chat = name, chat
        self.max_running, self.max_waiting = max_running, max_waiting
        self._line: deque[Ticket] = deque()
        self._running: list[_Running] = []  # touched by the thread only; its length may be read anywhere
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, ask: Ask) -> Ticket:
        with self._changed:
            if self._closed:
                raise BusyError(f"The server is shutting down; {self.name} takes no new request.")
            if len(self._line) >= self.max_waiting:
                waiting = len(self._line)
                raise BusyError(
                    f"{self.name} is busy: {waiting} requests already wait; try again in a moment."
                )
            ticket = Ticket(self, ask)
            self._line.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"model:{self.name}", daemon=True)
                self._thread.start()
            self._changed.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            ticket.cancelled = True
            if ticket in self._line:
                self._line.remove(ticket)

    @property
    def waiting(self) -> int:
        """Requests in the line, the running ones not counted."""
        return len(self._line)

    @property
    def running(self) -> int:
        return len(self._running)

    def close(self, timeout_s: float = 5.0) -> None:
        with self._changed:
            self._closed = True
            dropped = list(self._line)
            self._line.clear()
            self._changed.notify_all()
        for ticket in dropped:
            ticket.put(BusyError("The server is shutting down; this request was not begun."))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    # --- on the model's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._line or self._running or self._closed):
                    self._changed.wait()
                if self._closed:
                    break
                room = self.max_running - len(self._running)
                admitted = [self._line.popleft() for _ in range(min(room, len(self._line)))]
            for ticket in admitted:
                self._begin(ticket)
            for running in list(self._running):
                self._advance(running)
        for running in list(self._running):
            self._end(running, BusyError("The server is shutting down; this answer was not finished."))

    def _begin(self, ticket: Ticket) -> None:
        ticket.t_started = time.perf_counter()
        ask = ticket.ask
        try:
            messages: Sequence[Message] = ask.messages
            if ask.fit:
                messages, ticket.dropped = self.chat.fit(messages, ask.params.max_tokens)
            deltas = self.chat.stream(messages, ask.params, stop=ask.stop)
        except Exception as error:
            ticket.put(error)
        else:
            self._running.append(_Running(ticket, deltas))

    def _advance(self, running: _Running) -> None:
        """Take one delta of one answer."""
        ticket = running.ticket
        if ticket.cancelled:
            self._end(running, None)
            return
        try:
            delta = next(running.deltas, None)
        except Exception as error:
            self._end(running, error)
            return
        if delta is None:
            self._end(running, None)
            return
        if not running.begun:
            ticket.t_first, running.begun = time.perf_counter(), True
        ticket.t_finished = time.perf_counter()
        ticket.put(delta)

    def _end(self, running: _Running, outcome: BaseException | None) -> None:
        self._running.remove(running)
        try:
            close = getattr(running.deltas, "close", None)
            if close is not None:
                close()
        except Exception as error:  # closing failed: the client hears of it, the thread lives on
            outcome = outcome or error
        running.ticket.put(outcome)
