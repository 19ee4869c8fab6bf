"""Requests and small jobs on their way through a model's thread; their async half belongs to an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ziggurat.service.models.protocols import DeltaLike, RequestLike

if TYPE_CHECKING:
    from ziggurat.service.models.worker import ModelWorker

R = TypeVar("R")


class Ticket:
    """One request on its way through a model's thread. Its async half belongs to the event loop that made it."""

    def __init__(self, worker: ModelWorker[Any], request: RequestLike, owner: str = "") -> None:
        self.worker, self.request, self.owner = worker, request, owner
        self.unfinished = request.params.n
        self.handle: int | None = None  # the model's thread's own
        self.cancelled = False
        self.ended = False  # the last has arrived: finished or failed
        self.tokens = 0  # that were written, as far as the event loop has heard
        self.on_end: Callable[[int], None] | None = None  # told once, the tokens of prompt and completions
        self.t_submitted = self.t_started = self.t_first = self.t_finished = time.perf_counter()
        self.loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[DeltaLike | BaseException | None] = asyncio.Queue()

    async def next(self) -> DeltaLike | None:
        """The next delta; None after the last; what the model raised is raised here. Safe to cancel while waiting."""
        item = await self._arrived.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        """Stop as soon as possible; on the event loop, at any time, and twice if need be."""
        self.worker.cancel(self)
        if self.on_end is not None:
            on_end, self.on_end = self.on_end, None
            read = len(self.request.ids) if self.handle is not None else 0  # nobody pays for the line
            on_end(read + self.tokens)

    def arrive(self, item: DeltaLike | BaseException | None) -> None:
        """Called on the event loop."""
        if item is not None and not isinstance(item, BaseException):
            self.tokens += len(item.tokens)
        else:
            self.ended = True
        self._arrived.put_nowait(item)


class Job(Generic[R]):
    """Something short to be computed on a model's thread, between two steps."""

    def __init__(self, compute: Callable[[], R]) -> None:
        self.compute = compute
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[R] = self.loop.create_future()

    def run(self) -> None:
        """On the model's thread."""
        try:
            result = self.compute()
        except Exception as error:
            self._tell(self.outcome.set_exception, error)
        else:
            self._tell(self.outcome.set_result, result)

    def refuse(self, error: BaseException) -> None:
        self._tell(self.outcome.set_exception, error)

    def _tell(self, tell: Callable[[Any], None], what: Any) -> None:
        def once() -> None:
            if not self.outcome.done():  # its client may have gone away
                tell(what)

        with contextlib.suppress(RuntimeError):  # so may its loop
            self.loop.call_soon_threadsafe(once)


Item = tuple[Ticket, "DeltaLike | BaseException | None"]
