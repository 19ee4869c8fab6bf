"""Jobs in the store that survive a kill: adding, finding, cancelling them, and what happened in them.

    job = jobs.add(conn, store, principal, "turn", {...}, lane=COMPUTE)

`worker.py` works on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.common import clean_json, record
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso, iso_or_none
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.releases import job_events, jobs

State = Literal["queued", "running", "done", "failed", "cancelled"]
COMPUTE = "compute"
"""The lane of everything that takes the machine's cores for minutes: turns, gates, fine-tuning."""
ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    id: str
    workspace_id: str
    kind: str
    payload: dict[str, Any]
    state: State
    progress: dict[str, Any]
    result: dict[str, Any] | None
    last_error: str | None
    attempts: int
    cancel: bool
    created_by: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None


@dataclass(frozen=True)
class JobEvent:
    id: str
    level: str
    message: str
    data: dict[str, Any]
    created_at: str


def add(
    conn: Connection,
    store: Store,
    principal: Principal,
    kind: str,
    payload: Mapping[str, Any],
    *,
    lane: str | None = COMPUTE,
) -> str:
    """A new job, in the caller's transaction; returns its id."""
    job_id = new_id("job")
    row = {
        "id": job_id,
        "workspace_id": principal.workspace_id,
        "kind": kind,
        "payload": clean_json(payload),
        "state": "queued",
        "lane": lane,
        "attempts": 0,
        "cancel": False,
        "progress": {},
        "created_by": principal.person_id,
        "created_at": store.now(),
    }
    conn.execute(insert(jobs).values(**row))
    record(conn, store, principal, "job.add", kind="job", object_id=job_id, detail={"kind": kind})
    return job_id


def get(store: Store, workspace_id: str, job_id: str) -> Job:
    with store.read() as conn:
        row = conn.execute(select(jobs).where(jobs.c.id == job_id)).first()
    if row is None or row.workspace_id != workspace_id:
        raise NotFound("there is no such job.")
    return job_of(row)


def listed(store: Store, workspace_id: str, *, kind: str | None = None, limit: int = 50) -> list[Job]:
    """Newest first."""
    wanted = select(jobs).where(jobs.c.workspace_id == workspace_id)
    if kind is not None:
        wanted = wanted.where(jobs.c.kind == kind)
    with store.read() as conn:
        return [job_of(row) for row in conn.execute(wanted.order_by(jobs.c.id.desc()).limit(limit))]


def events(store: Store, job_id: str, *, after: str = "", limit: int = 200) -> list[JobEvent]:
    """What happened in a job, oldest first."""
    wanted = select(job_events).where(job_events.c.job_id == job_id, job_events.c.id > after)
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(job_events.c.id).limit(limit)).all()
    return [JobEvent(row.id, row.level, row.message, dict(row.data), iso(row.created_at)) for row in rows]


def tell(
    conn: Connection, store: Store, job_id: str, message: str, *, level: str = "info", **data: Any
) -> None:
    """Add an event to a job."""
    row = {"id": new_id("jev"), "job_id": job_id, "level": level, "message": message}
    conn.execute(insert(job_events).values(**row, data=clean_json(data), created_at=store.now()))


def cancel(store: Store, principal: Principal, job_id: str) -> Job:
    """Ask a job to end: one that waits ends at once, one that runs as soon as its worker looks.

    Raises:
        NotFound: there is no such job.
        Conflict: it has ended.
    """
    with store.write() as conn:
        row = conn.execute(select(jobs).where(jobs.c.id == job_id)).first()
        if row is None or row.workspace_id != principal.workspace_id:
            raise NotFound("there is no such job.")
        if row.state in ENDED:
            raise Conflict(f"this job is {row.state} already.")
        changes: dict[str, Any] = {"cancel": True}
        if row.state == "queued":
            changes |= {"state": "cancelled", "finished_at": store.now()}
        conn.execute(update(jobs).where(jobs.c.id == job_id).values(**changes))
        tell(conn, store, job_id, "Somebody asked this job to end.", by=principal.person_id)
        record(conn, store, principal, "job.cancel", kind="job", object_id=job_id)
    return get(store, principal.workspace_id, job_id)


def again(store: Store, principal: Principal, job_id: str) -> Job:
    """Put a job that failed or was cancelled back into the queue; its runs go on where they stopped.

    Raises:
        NotFound: there is no such job.
        Conflict: it waits or runs, or is done.
    """
    with store.write() as conn:
        put_back(conn, store, principal, job_id)
    return get(store, principal.workspace_id, job_id)


def put_back(conn: Connection, store: Store, principal: Principal, job_id: str) -> None:
    """`again`, in the caller's transaction."""
    row = conn.execute(select(jobs).where(jobs.c.id == job_id)).first()
    if row is None or row.workspace_id != principal.workspace_id:
        raise NotFound("there is no such job.")
    if row.state not in ("failed", "cancelled"):
        raise Conflict(f"this job is {row.state}; only one that failed or was cancelled can be resumed.")
    clean = {"state": "queued", "cancel": False, "attempts": 0, "last_error": None, "finished_at": None}
    conn.execute(update(jobs).where(jobs.c.id == job_id).values(**clean))
    tell(conn, store, job_id, "The job waits again.", by=principal.person_id)
    record(conn, store, principal, "job.again", kind="job", object_id=job_id)


def job_of(row: Any) -> Job:
    return Job(
        id=row.id,
        workspace_id=row.workspace_id,
        kind=row.kind,
        payload=dict(row.payload),
        state=row.state,
        progress=dict(row.progress or {}),
        result=None if row.result is None else dict(row.result),
        last_error=row.last_error,
        attempts=row.attempts,
        cancel=bool(row.cancel),
        created_by=row.created_by,
        created_at=iso(row.created_at),
        started_at=iso_or_none(row.started_at),
        finished_at=iso_or_none(row.finished_at),
    )
