"""Requests and short jobs on a model's thread; their async half belongs to one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta, Request


R = TypeVar("R")


class Answering(Protocol):
    """What an endpoint reads of a request that is being answered: a ticket, or what stands before one."""

    on_end: Callable[[int], None] | None
    """Called once with the tokens of prompt and completions."""

    @property
    def request(self) -> Request: ...
    @property
    def tokens(self) -> int: ...
    @property
    def t_submitted(self) -> float: ...
    @property
    def t_started(self) -> float: ...
    @property
    def t_first(self) -> float: ...
    @property
    def t_finished(self) -> float: ...
    async def next(self) -> Delta | None: ...
    def cancel(self) -> None: ...
    def arrive(self, item: Delta | BaseException | None) -> None: ...


class Ticket:
    """One request on a model's thread. `owner` is the caller whose turn it takes; `stop` ends it on the thread."""

    def __init__(self, model: str, request: Request, owner: str, stop: Callable[[Ticket], None]) -> None:
        self.model, self.request, self.owner, self._stop = model, request, owner, stop
        self.unfinished = request.params.n
        self.handle: int | None = None  # set by the model's thread
        self.cancelled = False
        self.ended = False  # the last item has arrived: the end, or an error
        self.tokens = 0  # completion tokens that have arrived
        self.on_end: Callable[[int], None] | None = (
            None  # called once with the tokens of prompt and completions
        )
        self.t_submitted = self.t_started = self.t_first = self.t_finished = time.perf_counter()
        self.loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Delta | BaseException | None] = asyncio.Queue()

    async def next(self) -> Delta | None:
        """The next delta; None after the last. Raises what the model raised. The wait may be cancelled."""
        item = await self._arrived.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        """Stop as soon as possible. Call it on the event loop, at any time, more than once if needed."""
        self.stop()
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            read = len(self.request.ids) if self.handle is not None else 0  # waiting in the queue is free
            on_end(read + self.tokens)

    def stop(self) -> None:
        """Stop the model; the request is still to be ended by `cancel`. Call it on the event loop."""
        self._stop(self)

    def arrive(self, item: Delta | BaseException | None) -> None:
        """Called on the event loop."""
        if item is not None and not isinstance(item, BaseException):
            self.tokens += len(item.tokens)
        else:
            self.ended = True
        self._arrived.put_nowait(item)


class Job(Generic[R]):
    """A short computation on a model's thread, between two steps."""

    def __init__(self, compute: Callable[[], R]) -> None:
        self.compute = compute
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[R] = self.loop.create_future()

    def run(self) -> None:
        """On the model's thread."""
        try:
            result = self.compute()
        except Exception as error:
            self._settle(self.outcome.set_exception, error)
        else:
            self._settle(self.outcome.set_result, result)

    def refuse(self, error: BaseException) -> None:
        self._settle(self.outcome.set_exception, error)

    def _settle(self, settle: Callable[[Any], None], value: Any) -> None:
        def once() -> None:
            if not self.outcome.done():  # a client that disconnected has cancelled it
                settle(value)

        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(once)


Item = tuple[Ticket, "Delta | BaseException | None"]


class Watcher(Protocol):
    """Counts what the models do; called on the event loop."""

    def watch(self, ticket: Ticket, item: Delta | BaseException | None) -> None:
        """`item` arrives for `ticket`; None is its end."""

    def count(self, model: str, *, prompt: int, written: int) -> None:
        """Tokens were read and written without a ticket."""
