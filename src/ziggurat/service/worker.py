"""One thread per model: requests wait in a bounded line, deltas come back to the event loop one by one.

The event loop never runs a model, and the model's thread never builds JSON or writes a log. Requests to one model
are served in order, one after another; different models run beside each other. A request that is cancelled while it
waits leaves the line at once; one that is running is closed before its next delta, which frees its engine slot.

    unopened --submit()--> open --close()--> closed        (close() may be called twice; submit() after it is refused)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ziggurat.errors import BusyError

if TYPE_CHECKING:
    from ziggurat.engine.sampler import SamplingParams
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
    def stream(self, messages: Sequence[Message], params: SamplingParams) -> Iterator[DeltaLike]: ...


class Ticket:
    """One request on its way through a model's thread. Its async half belongs to the event loop that made it."""

    def __init__(self, worker: ModelWorker, messages: Sequence[Message], params: SamplingParams) -> None:
        self.worker, self.messages, self.params = worker, messages, params
        self.cancelled = False
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


class ModelWorker:
    """The thread of one model and the line before it."""

    def __init__(self, name: str, chat: ChatLike, *, max_waiting: int) -> None:
        self.name, self.chat, self.max_waiting = name, chat, max_waiting
        self._line: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._running: Ticket | None = None
        self._closed = False

    def submit(self, messages: Sequence[Message], params: SamplingParams) -> Ticket:
        with self._changed:
            if self._closed:
                raise BusyError(f"The server is shutting down; {self.name} takes no new request.")
            if len(self._line) >= self.max_waiting:
                raise BusyError(
                    f"{self.name} is busy: {len(self._line)} requests already wait; try again in a moment."
                )
            ticket = Ticket(self, messages, params)
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
        """Requests in the line, the running one not counted."""
        with self._changed:
            return len(self._line)

    @property
    def busy(self) -> bool:
        with self._changed:
            return self._running is not None

    def close(self, timeout_s: float = 5.0) -> None:
        with self._changed:
            self._closed = True
            dropped = list(self._line)
            self._line.clear()
            if self._running is not None:
                self._running.cancelled = True
            self._changed.notify_all()
        for ticket in dropped:
            ticket.put(BusyError("The server is shutting down; this request was not begun."))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._line and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                ticket = self._running = self._line.popleft()
            self._serve(ticket)

    def _serve(self, ticket: Ticket) -> None:
        ticket.t_started = time.perf_counter()
        outcome: BaseException | None = None
        try:
            deltas = self.chat.stream(ticket.messages, ticket.params)
            try:
                self._forward(ticket, deltas)
            finally:
                close = getattr(deltas, "close", None)
                if close is not None:
                    close()
        except Exception as error:
            outcome = error
        ticket.t_finished = time.perf_counter()
        ticket.put(outcome)

    @staticmethod
    def _forward(ticket: Ticket, deltas: Iterator[DeltaLike]) -> None:
        first = True
        for delta in deltas:
            if ticket.cancelled:
                return
            if first:
                ticket.t_first, first = time.perf_counter(), False
            ticket.put(delta)
