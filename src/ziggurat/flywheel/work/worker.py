"""Working on jobs: a worker takes one with a lease, keeps the lease alive, and writes down how the job ended.

    Worker(store).once()        take the oldest job that waits, work on it, write down how it ended
    Worker(store).forever()     until `stop` is set; `ziggurat serve` and `ziggurat flywheel work` do this

A worker that dies leaves a lease that expires; the next worker takes the job again and goes on where it stopped, since
every handler may be called again for the same job (runs resume to the same bytes). At most one job of a lane runs: the
schema refuses a second one, so two trainings never share a machine, however many workers there are.

A handler is a function of (Work) that returns the job's result. `HANDLERS` names them by kind as "module:function".
"""

from __future__ import annotations

import importlib
import logging
import os
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from ziggurat.errors import ZigguratError
from ziggurat.flywheel.work.jobs import Job, State, job_of, tell
from ziggurat.product.common import clean_json
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import jobs

log = logging.getLogger("ziggurat.flywheel")
LEASE_S = 30.0
BEAT_S = 5.0
"""A worker that lives renews its lease so often; a job of a dead one waits for at most LEASE_S."""
LOOK_S = 1.0
ATTEMPTS = 5
"""A job whose worker died so often is not taken again."""
HANDLERS: dict[str, str] = {
    "turn": "ziggurat.flywheel.turn.job:work",
    "gate": "ziggurat.flywheel.gate.job:work",
    "fine_tune": "ziggurat.flywheel.tuning.job:work",
}


class Stopped(Exception):
    """The worker ends, or the job was cancelled: the handler leaves, and its work can be gone on with."""


GIVEN_UP: dict[str, str] = {
    "turn": "ziggurat.flywheel.turn.job:given_up",
    "gate": "ziggurat.flywheel.gate.job:given_up",
    "fine_tune": "ziggurat.flywheel.tuning.job:given_up",
}
"""By kind, what tells the turn, the gate or the fine-tuning that nobody works on it any more: a function of (conn,
store, job, state, error) in the transaction that ends the job."""


@dataclass
class Work:
    """What a handler gets: the job, the store, and how to say how far it is."""

    store: Store
    job: Job
    worker: str
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the worker ends, the job is cancelled, or its lease is lost: the handler raises Stopped soon."""

    def check(self) -> None:
        """Raises Stopped if the handler has to leave."""
        if self.stop.is_set():
            raise Stopped

    def keeps(self, conn: Connection) -> bool:
        """Whether this worker still has the job; asked in the transaction that changes what the job is about."""
        return conn.execute(select(jobs.c.id).where(self._mine())).first() is not None

    def change(self, table: Table, key: str, **values: Any) -> bool:
        """Change the row that the job is about. False, and nothing is changed, if another worker has the job by now."""
        with self.store.write() as conn:
            kept = self.keeps(conn)
            if kept:
                conn.execute(update(table).where(table.c.id == key).values(**values))
        return kept

    def progress(self, **changes: Any) -> None:
        """Merge into the job's progress."""
        with self.store.write(durable=False) as conn:
            old = conn.execute(select(jobs.c.progress).where(jobs.c.id == self.job.id)).scalar() or {}
            merged = clean_json({**old, **changes})
            conn.execute(update(jobs).where(self._mine()).values(progress=merged))

    def say(self, message: str, *, level: str = "info", **data: Any) -> None:
        with self.store.write(durable=False) as conn:
            tell(conn, self.store, self.job.id, message, level=level, **data)

    def beat(self) -> None:
        """Renew the lease; set `stop` if it is lost or the job was cancelled."""
        until = self.store.now() + int(LEASE_S * SECOND)
        with self.store.write(durable=False) as conn:
            kept = conn.execute(update(jobs).where(self._mine()).values(locked_until=until)).rowcount
            asked = conn.execute(select(jobs.c.cancel).where(jobs.c.id == self.job.id)).scalar()
        if not kept or asked:
            self.stop.set()

    def _mine(self) -> Any:
        return and_(jobs.c.id == self.job.id, jobs.c.worker == self.worker, jobs.c.state == "running")


class Worker:
    """Works on the jobs of a store, one after the other."""

    def __init__(
        self,
        store: Store,
        *,
        kinds: tuple[str, ...] | None = None,
        name: str | None = None,
        free: Callable[[], bool] = lambda: True,
    ) -> None:
        """`free`: whether the machine may take a job of a lane now; a climb beside the server takes its cores too."""
        self.store, self.kinds, self.free = store, kinds, free
        self._work: Work | None = None
        self.name = name or f"{socket.gethostname()[:30]}:{os.getpid()}:{threading.get_ident() % 100_000}"
        self.stop = threading.Event()

    def forever(self) -> None:
        """Until `stop` is set."""
        while not self.stop.is_set():
            try:
                found = self.once()
            except SQLAlchemyError:  # the database is away for a moment; the lease of what ran expires
                log.exception("the store cannot be reached; the worker tries again")
                found = False
            if not found:
                self.stop.wait(LOOK_S)

    def end(self) -> None:
        """Leave the job that runs, for the next worker, and take no other; from any thread."""
        self.stop.set()
        if self._work is not None:
            self._work.stop.set()

    def once(self) -> bool:
        """Work on one job to its end. False where none waits."""
        job = self._take()
        if job is None:
            return False
        work = self._work = Work(self.store, job, self.name)
        if self.stop.is_set():
            work.stop.set()
        ended = threading.Event()
        beats = threading.Thread(target=self._keep_alive, args=(work, ended), daemon=True)
        beats.start()
        try:
            self._end(work, "done", result=dict(handler(job.kind)(work) or {}))
        except Stopped:
            self._leave(work)
        except KeyboardInterrupt:
            self._leave(work)
            raise
        except ZigguratError as error:
            self._end(work, "failed", error=str(error))
        except Exception as error:
            log.exception("job %s failed", job.id)
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
            self._end(work, "failed", error=f"{type(error).__name__}: {error} ({where}); the log has more.")
        finally:
            self._work = None
            ended.set()
            beats.join(timeout=BEAT_S)
        return True

    def _take(self) -> Job | None:
        """The oldest job that waits or whose worker died, if its lane is free."""
        now = self.store.now()
        died = and_(jobs.c.state == "running", jobs.c.locked_until < now)
        if not self._waits(died):
            return None
        with self.store.write() as conn:
            self._give_up(conn, died)
            busy = set(
                conn.execute(
                    select(jobs.c.lane).where(jobs.c.state == "running", jobs.c.locked_until >= now)
                ).scalars()
            )
            wanted = select(jobs).where(or_(jobs.c.state == "queued", died))
            if self.kinds is not None:
                wanted = wanted.where(jobs.c.kind.in_(self.kinds))
            for row in conn.execute(wanted.order_by(jobs.c.id)).all():
                if row.lane is not None and (row.lane in busy or not self.free()):
                    continue
                if row.state == "queued" and row.lane is not None and self._dead_in(conn, row.lane):
                    continue  # that one goes first: its place in the lane is taken
                taken = {
                    "state": "running",
                    "worker": self.name,
                    "locked_until": now + int(LEASE_S * SECOND),
                    "attempts": row.attempts + 1,
                    "started_at": row.started_at or now,
                }
                conn.execute(update(jobs).where(jobs.c.id == row.id).values(**taken))
                message = "The job began." if row.attempts == 0 else "The job goes on where it stopped."
                tell(conn, self.store, row.id, message, worker=self.name, attempt=row.attempts + 1)
                return job_of(conn.execute(select(jobs).where(jobs.c.id == row.id)).one())
        return None

    def _waits(self, died: Any) -> bool:
        with self.store.read() as conn:
            return (
                conn.execute(select(jobs.c.id).where(or_(jobs.c.state == "queued", died))).first() is not None
            )

    @staticmethod
    def _dead_in(conn: Connection, lane: str) -> bool:
        wanted = select(jobs.c.id).where(jobs.c.lane == lane, jobs.c.state == "running")
        return conn.execute(wanted).first() is not None

    def _give_up(self, conn: Connection, died: Any) -> None:
        """Jobs whose worker died too often, or that were cancelled meanwhile."""
        for row in conn.execute(
            select(jobs).where(died, or_(jobs.c.attempts >= ATTEMPTS, jobs.c.cancel))
        ).all():
            state = "cancelled" if row.cancel else "failed"
            error = None if row.cancel else f"its worker ended {row.attempts} times without finishing it."
            ended = {"state": state, "last_error": error, "finished_at": self.store.now(), "worker": None}
            conn.execute(update(jobs).where(jobs.c.id == row.id).values(**ended))
            said, level = error or "The job was cancelled.", "error" if error else "info"
            tell(conn, self.store, row.id, said, level=level)
            if row.kind in GIVEN_UP:
                named(GIVEN_UP[row.kind])(conn, self.store, job_of(row), state, error)

    def _keep_alive(self, work: Work, ended: threading.Event) -> None:
        while not ended.wait(BEAT_S):
            try:
                work.beat()
            except (SQLAlchemyError, ZigguratError):
                log.exception("the lease of job %s could not be renewed", work.job.id)
            if self.stop.is_set():
                work.stop.set()

    def _leave(self, work: Work) -> None:
        """The job was cancelled, or the worker ends and the job waits for the next one."""
        with self.store.write() as conn:
            row = conn.execute(select(jobs).where(work._mine())).first()
            if row is None:
                return  # another worker has it
            if row.cancel:
                changes = {"state": "cancelled", "finished_at": self.store.now()}
            else:
                changes = {"state": "queued", "attempts": max(0, row.attempts - 1)}
            changes |= {"worker": None, "locked_until": None}
            conn.execute(update(jobs).where(jobs.c.id == row.id).values(**changes))
            said = (
                "The job was cancelled."
                if row.cancel
                else "The worker ends; the job goes on with the next one."
            )
            tell(conn, self.store, row.id, said)

    def _end(self, work: Work, state: State, *, result: Any = None, error: str | None = None) -> None:
        with self.store.write() as conn:
            ended = {"state": state, "result": clean_json(result), "last_error": error}
            ended |= {"finished_at": self.store.now(), "worker": None, "locked_until": None}
            if conn.execute(update(jobs).where(work._mine()).values(**ended)).rowcount:
                level = "error" if error else "info"
                tell(conn, self.store, work.job.id, error or "The job is done.", level=level)


def handler(kind: str) -> Callable[[Work], Mapping[str, Any] | None]:
    """The function that works on jobs of this kind."""
    if kind not in HANDLERS:
        raise ZigguratError(f"this Ziggurat knows no jobs of the kind {kind}; upgrade it.")
    found: Callable[[Work], Mapping[str, Any] | None] = named(HANDLERS[kind])
    return found


def named(target: str) -> Any:
    """What "module:function" names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
