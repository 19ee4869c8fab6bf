"""One thread per model: requests wait in a bounded queue, pieces of text come back to the event loop.

The event loop never runs a model; a model's thread never builds JSON or writes a log. The thread takes requests from
the queue, in which their owners take turns, steps its desk, and wakes the event loop once for all results of a step. A
waiting request leaves the queue when it is cancelled; a running one leaves the engine before the next step.

    unopened --submit()--> open --close()--> closed        (close() may be called twice; submit() after it is refused)
                            │└--step fails--> failed       (all requests end with the error; new ones are refused)
                            └--retire()--> retired         (another model has its name: requests that hold this one are
                                                            answered, then its thread and cache are dropped)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ziggurat.engine.line import Line
from ziggurat.errors import BusyError, ZigguratError
from ziggurat.service.models.tickets import Item, Job, R, Ticket, Watcher

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta, Desk, Request

M = TypeVar("M")

IDLE_S = 2.0
"""An idle thread ends after this time, and its OpenMP threads with it: they slow other models (see apart.py)."""


class NoDesk:
    """The desk of a reward model: its thread runs jobs only."""

    def begin(self, request: Any) -> int:
        raise TypeError(f"a reward model writes nothing; it was given {request!r}")

    def step(self) -> Sequence[tuple[int, Delta]]:
        return ()

    def cancel(self, handle: int) -> None:
        pass

    def reset(self) -> None:
        pass

    def stats(self) -> dict[str, float]:
        return {"cache_usage": 0.0, "prefix_hits": 0.0, "prefix_queries": 0.0, "preempted": 0.0}


class ModelWorker(Generic[M]):
    """The thread of one model and its queue."""

    def __init__(
        self,
        name: str,
        chat: M,
        open_desk: Callable[[], Desk | NoDesk],
        *,
        max_running: int,
        max_waiting: int,
        max_waiting_each: int,
    ) -> None:
        self.name, self.chat, self._open_desk = name, chat, open_desk
        self.max_running, self.max_waiting = max_running, max_waiting
        self.max_waiting_each = max_waiting_each  # of one owner; `access.admission` enforces it
        self.failure: BaseException | None = None
        self.draining = False  # requests that were taken are answered, new ones are refused
        self.retired = False  # requests that still come are answered, then everything is dropped
        self.watcher: Watcher | None = None
        self._line: Line[Ticket] = Line()
        self._jobs: Line[Job[Any]] = Line()
        self._gone: list[Ticket] = []  # cancelled while they ran, not yet taken out of the desk
        self._running: dict[int, Ticket] = {}  # written by the thread only; any thread may read its length
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._desk: Desk | NoDesk | None = None
        self._closed = False

    def check_room(self, prompts: int = 1) -> None:
        """Raise BusyError if so many more requests do not fit into the queue. An empty queue takes any number."""
        self._check_open(begun=False)
        if (waiting := self.waiting) and waiting + prompts > self.max_waiting:
            raise BusyError(
                f"{self.name} is busy: {waiting} of at most {self.max_waiting} requests wait; try again in a moment.",
                code="busy",
            )

    def _check_open(self, *, begun: bool) -> None:
        if self.failure is not None:
            message = f"{self.name} has failed and takes no request; restart the server."
            raise BusyError(message, code="failed")
        if self._closed or (self.draining and not begun):
            message = f"The server is shutting down; {self.name} takes no new request."
            raise BusyError(message, code="shutting_down")

    def submit(self, request: Request, owner: str = "", *, checked: bool = False) -> Ticket:
        """Put a request into the queue. `owner`: owners take turns. `checked`: the caller has called `check_room`."""
        with self._changed:
            if checked:
                self._check_open(begun=False)
            else:
                self.check_room()
            ticket = Ticket(self.name, request, owner, self.cancel)
            self._line.append(ticket, owner)
            self._start()
        return ticket

    async def call(self, compute: Callable[[], R], *, owner: str = "", begun: bool = False) -> R:
        """Run `compute` on the model's thread between two steps and return its result; it should be short.

        `begun`: a later part of a request that was taken; a full queue or a shutdown does not refuse it.
        """
        job = Job(compute)
        with self._changed:
            if begun:
                self._check_open(begun=True)
            else:
                self.check_room()
            self._jobs.append(job, owner)
            self._start()
        return await job.outcome

    def _start(self) -> None:
        """Wake the thread, or start it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"model:{self.name}", daemon=True)
            self._thread.start()
        self._changed.notify()

    def cancel(self, ticket: Ticket) -> None:
        with self._changed:
            if ticket.cancelled or ticket.ended:
                return
            ticket.cancelled = True
            waited = ticket in self._line
            if waited:
                self._line.remove(ticket)
            else:
                self._gone.append(ticket)
                self._changed.notify()
        if waited:
            self._deliver([(ticket, None)])  # the metrics count it like one that ran

    @property
    def waiting(self) -> int:
        """Requests and jobs in the queue, without the running ones."""
        return len(self._line) + len(self._jobs)

    def waiting_of(self, owner: str) -> int:
        """Completions and jobs of one owner that wait; a request with `n` counts `n` times.

        Completions of running requests beyond `max_running` wait inside the engine, so they count too.
        """
        with self._changed:
            asked = sum(ticket.request.params.n for ticket in self._line.of(owner))
            begun = sum(t.unfinished for t in list(self._running.values()) if t.owner == owner)
            return asked + len(self._jobs.of(owner)) + max(0, begun - self.max_running)

    @property
    def running(self) -> int:
        return len(self._running)

    def stats(self) -> dict[str, float]:
        """Current figures; they may be from different moments of the running step."""
        desk = self._desk or NoDesk()
        return {"running": float(self.running), "waiting": float(self.waiting), **desk.stats()}

    def retire(self) -> None:
        """Drop the thread and the cache as soon as the queue is empty; a later request creates them again."""
        with self._changed:
            self.retired = True
            if self._thread is None:
                self._desk = None
            self._changed.notify_all()

    def close(self, timeout_s: float = 5.0) -> None:
        with self._changed:
            self._closed = True
            dropped = list(self._line)
            self._line.clear()
            self._changed.notify_all()
        message = "The server is shutting down; this request did not begin."
        self._deliver([(ticket, BusyError(message, code="shutting_down")) for ticket in dropped])
        thread = self._thread  # the thread may set it to None meanwhile
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    # --- on the model's thread ----------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._desk = desk = self._desk or self._open_desk()
        except BaseException as error:
            self._fail(error)
            return
        while True:
            with self._changed:
                while not (self._has_work or self._closed or self.retired):
                    if not self._changed.wait(IDLE_S):
                        break
                if self._closed:
                    break
                if not self._has_work:
                    self._thread, self._desk = None, None if self.retired else desk
                    return
                gone, self._gone = self._gone, []
                room = self.max_running - len(self._running)
                admitted = [self._line.popleft() for _ in range(min(room, len(self._line)))]
                job = self._jobs.popleft() if self._jobs else None
            for ticket in gone:
                self._drop(desk, ticket)
            if job is not None:
                job.run()
            for ticket in admitted:
                self._begin(desk, ticket)
            if self._running and not self._step(desk):
                return
        closing = BusyError("The server is shutting down; this answer is incomplete.", code="shutting_down")
        self._refuse_jobs(closing)
        self._fail_all(closing)

    @property
    def _has_work(self) -> bool:
        return bool(self._line or self._running or self._gone or self._jobs)

    def _begin(self, desk: Desk | NoDesk, ticket: Ticket) -> None:
        ticket.t_started = time.perf_counter()
        try:
            ticket.handle = desk.begin(ticket.request)
        except Exception as error:
            self._deliver([(ticket, error)])
        else:
            self._running[ticket.handle] = ticket

    def _step(self, desk: Desk | NoDesk) -> bool:
        """One step for all requests; False if the model has failed."""
        try:
            deltas = desk.step()
        except ZigguratError as error:  # the engine drops its requests and continues
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

    def _drop(self, desk: Desk | NoDesk, ticket: Ticket) -> None:
        if ticket.handle is not None and self._running.pop(ticket.handle, None) is not None:
            desk.cancel(ticket.handle)
            self._deliver([(ticket, None)])

    def _fail(self, error: BaseException) -> None:
        """The model has failed: end every request with the error and refuse new ones."""
        with self._changed:
            self.failure = error
            waiting = list(self._line)
            self._line.clear()
        self._refuse_jobs(error)
        self._fail_all(error)
        self._deliver([(ticket, error) for ticket in waiting])

    def _refuse_jobs(self, error: BaseException) -> None:
        with self._changed:
            jobs = list(self._jobs)
            self._jobs.clear()
        for job in jobs:
            job.refuse(error)

    def _fail_all(self, error: BaseException) -> None:
        failed = list(self._running.values())
        self._running.clear()
        self._deliver([(ticket, error) for ticket in failed])

    def _deliver(self, items: Sequence[Item]) -> None:
        """Wake each event loop once. Requests of a closed loop are cancelled."""
        for loop in {ticket.loop for ticket, _ in items}:
            own = [(ticket, item) for ticket, item in items if ticket.loop is loop]
            try:
                loop.call_soon_threadsafe(_arrive, own, self.watcher)
            except RuntimeError:
                for ticket, _ in own:
                    self.cancel(ticket)


def _arrive(items: Sequence[Item], watcher: Watcher | None) -> None:
    for ticket, item in items:
        if watcher is not None:
            watcher.watch(ticket, item)
        ticket.arrive(item)
