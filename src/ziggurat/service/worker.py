"""One thread per model: requests wait in a bounded line, pieces of text come back to the event loop.

The event loop never runs a model, and the model's thread never builds JSON or writes a log. The thread takes new
requests from the line, steps its desk, and wakes the event loop once for all that a step brought. A request that is
cancelled while it waits leaves the line at once; one that is running is out of the engine before the next step.

    unopened --submit()--> open --close()--> closed        (close() may be called twice; submit() after it is refused)
                             └--step fails--> failed       (every request hears why; health says so; no new ones)
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ziggurat.errors import BusyError, ZigguratError

if TYPE_CHECKING:
    from ziggurat.dialogue.grammar import Form
    from ziggurat.engine.params import SamplingParams
    from ziggurat.records import Message


R = TypeVar("R")


class DeltaLike(Protocol):
    """A piece of a choice; its last one carries the finish reason and the token counts."""

    @property
    def text(self) -> str: ...
    @property
    def finish(self) -> str | None: ...
    @property
    def usage(self) -> Any: ...
    @property
    def choice(self) -> int: ...
    @property
    def call(self) -> int | None: ...
    @property
    def tokens(self) -> Sequence[Any]: ...
    @property
    def prompt(self) -> Sequence[Any]: ...


class RequestLike(Protocol):
    @property
    def params(self) -> SamplingParams: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def dropped(self) -> int: ...


class DeskLike(Protocol):
    """What the thread drives: `dialogue.desk.Desk`; tests hand in a fake."""

    def begin(self, request: Any) -> int: ...
    def step(self) -> Sequence[tuple[int, DeltaLike]]: ...
    def cancel(self, handle: int) -> None: ...
    def reset(self) -> None: ...
    def stats(self) -> dict[str, float]: ...


class ChatLike(Protocol):
    """What the service needs of `dialogue.chat.Chat`; all of it may be called on any thread."""

    @property
    def is_base(self) -> bool: ...
    @property
    def uses_tools(self) -> bool: ...
    @property
    def context(self) -> int: ...
    def desk(self) -> DeskLike: ...
    def prepare(
        self,
        messages: Sequence[Message],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        fit: bool = False,
        tools: Sequence[dict[str, Any]] | None = None,
        form: Form | None = None,
    ) -> RequestLike: ...
    def prepare_raw(
        self,
        prompt: str | Sequence[int],
        params: SamplingParams,
        *,
        stop: Sequence[str] = (),
        form: Form | None = None,
    ) -> RequestLike: ...
    def prompt_ids(self, messages: Sequence[Message]) -> list[int]: ...
    def raw_ids(self, text: str) -> list[int]: ...
    def text_of(self, ids: Sequence[int]) -> str: ...
    def token_name(self, id: int) -> str: ...
    def token_bytes(self, id: int) -> bytes | None: ...
    def tokenizer_info(self) -> dict[str, Any]: ...
    def embed(self, prompts: Sequence[Sequence[int]]) -> list[list[float]]: ...


class Ticket:
    """One request on its way through a model's thread. Its async half belongs to the event loop that made it."""

    def __init__(self, worker: ModelWorker, request: RequestLike) -> None:
        self.worker, self.request = worker, request
        self.unfinished = request.params.n
        self.handle: int | None = None  # the model's thread's own
        self.cancelled = False
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
            on_end(len(self.request.ids) + self.tokens)

    def arrive(self, item: DeltaLike | BaseException | None) -> None:
        """Called on the event loop."""
        if item is not None and not isinstance(item, BaseException):
            self.tokens += len(item.tokens)
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


class ModelWorker:
    """The thread of one model and the line before it."""

    def __init__(self, name: str, chat: ChatLike, *, max_running: int, max_waiting: int) -> None:
        self.name, self.chat = name, chat
        self.max_running, self.max_waiting = max_running, max_waiting
        self.failure: BaseException | None = None
        self.draining = False  # what was taken is answered, nothing more is taken
        self.watch: Callable[[Ticket, DeltaLike | BaseException | None], None] | None = None
        self._line: deque[Ticket] = deque()
        self._jobs: deque[Job[Any]] = deque()
        self._gone: list[Ticket] = []  # cancelled while they ran, not yet taken out
        self._running: dict[int, Ticket] = {}  # touched by the thread only; its length may be read anywhere
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._desk: DeskLike | None = None
        self._closed = False

    def check_room(self) -> None:
        """Refuse a request before anybody works on it."""
        if self.failure is not None:
            raise BusyError(f"{self.name} has failed and takes no request; its server must be started again.")
        if self._closed or self.draining:
            raise BusyError(f"The server is shutting down; {self.name} takes no new request.")
        if (waiting := len(self._line)) >= self.max_waiting:
            raise BusyError(f"{self.name} is busy: {waiting} requests already wait; try again in a moment.")

    def submit(self, request: RequestLike) -> Ticket:
        with self._changed:
            self.check_room()
            ticket = Ticket(self, request)
            self._line.append(ticket)
            self._start()
        return ticket

    async def call(self, compute: Callable[[], R]) -> R:
        """What `compute` returns, computed on the model's thread between two steps; it should be short."""
        job = Job(compute)
        with self._changed:
            self.check_room()
            self._jobs.append(job)
            self._start()
        return await job.outcome

    def _start(self) -> None:
        """Wake the thread, or make it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"model:{self.name}", daemon=True)
            self._thread.start()
        self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket.cancelled:
                return
            ticket.cancelled = True
            if ticket in self._line:
                self._line.remove(ticket)
            else:
                self._gone.append(ticket)
                self._changed.notify()

    @property
    def waiting(self) -> int:
        """Requests in the line, the running ones not counted."""
        return len(self._line)

    @property
    def running(self) -> int:
        return len(self._running)

    def stats(self) -> dict[str, float]:
        """What the model is doing now; figures of one moment or another of the step that runs."""
        nothing = {"cache_usage": 0.0, "prefix_hits": 0.0, "prefix_queries": 0.0, "preempted": 0.0}
        desk = self._desk.stats() if self._desk is not None else nothing
        return {"running": float(self.running), "waiting": float(self.waiting), **desk}

    def close(self, timeout_s: float = 5.0) -> None:
        with self._changed:
            self._closed = True
            dropped = list(self._line)
            self._line.clear()
            self._changed.notify_all()
        message = "The server is shutting down; this request was not begun."
        self._deliver([(ticket, BusyError(message)) for ticket in dropped])
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    # --- on the model's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._desk = desk = self.chat.desk()
        except BaseException as error:
            self._fail(error)
            return
        while True:
            with self._changed:
                while not (self._line or self._running or self._gone or self._jobs or self._closed):
                    self._changed.wait()
                if self._closed:
                    break
                gone, self._gone = self._gone, []
                room = self.max_running - len(self._running)
                admitted = [self._line.popleft() for _ in range(min(room, len(self._line)))]
            for ticket in gone:
                self._drop(desk, ticket)
            if self._jobs:
                self._jobs.popleft().run()
            for ticket in admitted:
                self._begin(desk, ticket)
            if self._running and not self._step(desk):
                return
        closing = BusyError("The server is shutting down; this answer was not finished.")
        self._refuse_jobs(closing)
        self._fail_all(closing)

    def _begin(self, desk: DeskLike, ticket: Ticket) -> None:
        ticket.t_started = time.perf_counter()
        try:
            ticket.handle = desk.begin(ticket.request)
        except Exception as error:
            self._deliver([(ticket, error)])
        else:
            self._running[ticket.handle] = ticket

    def _step(self, desk: DeskLike) -> bool:
        """One step for all; False if the model failed for good."""
        try:
            deltas = desk.step()
        except ZigguratError as error:  # the engine dropped its requests and can go on
            self._fail_all(error)
            desk.reset()
            return True
        except BaseException as error:
            self._fail(error)
            return False
        now = time.perf_counter()
        items: list[Item] = []
        for handle, delta in deltas:
            ticket = self._running.get(handle)
            if ticket is None:
                continue
            ticket.t_first = now if ticket.t_first < ticket.t_started else ticket.t_first
            ticket.t_finished = now
            items.append((ticket, delta))
            if delta.finish is not None:
                ticket.unfinished -= 1
                if ticket.unfinished == 0:
                    del self._running[handle]
                    items.append((ticket, None))
        self._deliver(items)
        return True

    def _drop(self, desk: DeskLike, ticket: Ticket) -> None:
        if ticket.handle is not None and self._running.pop(ticket.handle, None) is not None:
            desk.cancel(ticket.handle)
            self._deliver([(ticket, None)])

    def _fail(self, error: BaseException) -> None:
        """The model is lost: everybody hears of it, and nobody is admitted any more."""
        with self._changed:
            self.failure = error
            waiting = list(self._line)
            self._line.clear()
        self._refuse_jobs(error)
        self._fail_all(error)
        self._deliver([(ticket, error) for ticket in waiting])

    def _refuse_jobs(self, error: BaseException) -> None:
        while self._jobs:
            self._jobs.popleft().refuse(error)

    def _fail_all(self, error: BaseException) -> None:
        failed = list(self._running.values())
        self._running.clear()
        self._deliver([(ticket, error) for ticket in failed])

    def _deliver(self, items: Sequence[Item]) -> None:
        """Wake each event loop once. One that has gone away counts as clients that have gone away."""
        for loop in {ticket.loop for ticket, _ in items}:
            own = [(ticket, item) for ticket, item in items if ticket.loop is loop]
            try:
                loop.call_soon_threadsafe(_arrive, own, self.watch)
            except RuntimeError:
                for ticket, _ in own:
                    self.cancel(ticket)


def _arrive(
    items: Sequence[Item], watch: Callable[[Ticket, DeltaLike | BaseException | None], None] | None
) -> None:
    for ticket, item in items:
        if watch is not None:
            watch(ticket, item)
        ticket.arrive(item)
