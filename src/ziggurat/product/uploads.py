"""Files that programs upload: for fine-tuning and for whoever asks for them again. Their contents are in the store.

A name is shown and never used as a path. A file is its owner's alone; developers may use any of the workspace's to
train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from ziggurat.product.common import clean_name, record, row_of, whole
from ziggurat.product.errors import Conflict, Invalid, NotFound, TooMany
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require, require_on
from ziggurat.store.clock import SECOND
from ziggurat.store.ids import uuid7_hex
from ziggurat.store.scrub import scrub
from ziggurat.store.store import Store
from ziggurat.store.tables.programs import tunings, upload_parts
from ziggurat.store.tables.programs import uploads as table
from ziggurat.store.tables.releases import jobs

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
RESULTS = "fine-tune-results"
"""OpenAI's purpose of the files that a fine-tuning job writes."""
PART = 1 << 20
MAX_FILE = 64 << 20
"""Bytes of one file; a training file of 100,000 short conversations."""
MAX_ALL = 1 << 30
"""Bytes of all files of one person."""
HOUR_S = 3_600
MIN_EXPIRY_S, MAX_EXPIRY_S = HOUR_S, 30 * 24 * HOUR_S
"""OpenAI's bounds of `expires_after`."""


class Upload(Thing):
    """OpenAI's file object."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str
    status_details: str | None
    report: dict[str, Any] | None
    """Of a training file: what its check found."""


def add(
    store: Store,
    principal: Principal,
    file: BinaryIO,
    *,
    filename: str,
    purpose: str,
    expires_after_s: int | None = None,
) -> Upload:
    """Keep a file. One for fine-tuning waits for its check (`checked`), any other is ready at once.

    Raises:
        Invalid: an unknown purpose, an empty or too large file.
        TooMany: the person's files are too large together.
    """
    require(principal, "file")
    if purpose not in PURPOSES:
        raise Invalid(f"purpose is {purpose!r}; it must be one of {', '.join(PURPOSES)}.", param="purpose")
    if expires_after_s is not None:
        whole(expires_after_s, "expires_after.seconds", MIN_EXPIRY_S, MAX_EXPIRY_S)
    name = clean_name(filename.rpartition("/")[2].rpartition("\\")[2] or "file", "file")
    upload_id, digest, size, parts = f"file-{uuid7_hex()}", hashlib.sha256(), 0, []
    while part := file.read(PART):
        size += len(part)
        digest.update(part)
        parts.append(part)
        if size > MAX_FILE:
            raise Invalid(
                f"the file has more than {MAX_FILE:,} bytes, the most that one file may have.",
                param="file",
                code="too_long",
            )
    if not size:
        raise Invalid("the file is empty.", param="file", code="empty")
    now = store.now()
    row = {
        "id": upload_id,
        "workspace_id": principal.workspace_id,
        "person_id": principal.person_id,
        "filename": name,
        "purpose": purpose,
        "bytes": size,
        "sha256": digest.hexdigest(),
        "status": "uploaded" if purpose == "fine-tune" else "processed",
        "report": None,
        "expires_at": None if expires_after_s is None else now + expires_after_s * SECOND,
        "created_at": now,
    }
    with store.write() as conn:
        mine = table.c.person_id == principal.person_id
        used = conn.execute(select(func.coalesce(func.sum(table.c.bytes), 0)).where(mine)).scalar() or 0
        if int(used) + size > MAX_ALL:
            raise TooMany(
                f"your files have {int(used):,} bytes, and with this one more than {MAX_ALL:,}; delete some first.",
                retry_after_s=HOUR_S,
                code="too_many_files",
            )
        conn.execute(insert(table).values(row))
        for n, data in enumerate(parts):
            conn.execute(insert(upload_parts).values(upload_id=upload_id, n=n, data=data))
        detail = {"bytes": size, "purpose": purpose}
        record(conn, store, principal, "file.add", kind="file", object_id=upload_id, detail=detail)
        return view(row_of(conn, table, upload_id))


def put_results(conn: Connection, store: Store, job: Any, upload_id: str, data: bytes) -> None:
    """The file that a fine-tuning job (a row) leaves to the person who began it, at most PART bytes. A job that is gone
    on with writes it once."""
    if row_of(conn, table, upload_id) is not None:
        return
    row = {
        "id": upload_id,
        "workspace_id": job.workspace_id,
        "person_id": job.person_id,
        "filename": "step_metrics.csv",
        "purpose": RESULTS,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "status": "processed",
        "report": None,
        "expires_at": None,
        "created_at": store.now(),
    }
    conn.execute(insert(table).values(row))
    conn.execute(insert(upload_parts).values(upload_id=upload_id, n=0, data=data))


def checked(store: Store, principal: Principal, upload_id: str, report: Mapping[str, Any]) -> Upload:
    """Note what the check of a training file found; without a bad line it is ready."""
    with store.write() as conn:
        _own(conn, principal, upload_id)
        status = "error" if report.get("errors") else "processed"
        values = {"report": dict(report), "status": status}
        conn.execute(update(table).where(table.c.id == upload_id).values(values))
        return view(row_of(conn, table, upload_id))


def listed(
    store: Store,
    principal: Principal,
    *,
    purpose: str | None = None,
    after: str | None = None,
    limit: int = 10_000,
    newest_first: bool = True,
) -> tuple[list[Upload], bool]:
    """My files and whether there are more."""
    require(principal, "file")
    whole(limit, "limit", 1, 10_000)
    wanted = select(table).where(
        table.c.person_id == principal.person_id,
        table.c.workspace_id == principal.workspace_id,
        or_(table.c.expires_at.is_(None), table.c.expires_at > store.now()),
    )
    if purpose is not None:
        wanted = wanted.where(table.c.purpose == purpose)
    if after is not None:
        wanted = wanted.where(table.c.id < after if newest_first else table.c.id > after)
    order = table.c.id.desc() if newest_first else table.c.id
    with store.read() as conn:
        rows = conn.execute(wanted.order_by(order).limit(limit + 1)).all()
    return [view(row) for row in rows[:limit]], len(rows) > limit


def get(store: Store, principal: Principal, upload_id: str) -> Upload:
    with store.read() as conn:
        return view(_living(store, _own(conn, principal, upload_id)))


def content(store: Store, principal: Principal, upload_id: str) -> Iterator[bytes]:
    """The bytes, part by part."""
    with store.read() as conn:
        _living(store, _own(conn, principal, upload_id))
    return parts_of(store, upload_id) or iter(())


def parts_of(store: Store, upload_id: str) -> Iterator[bytes] | None:
    """The bytes for a job that was allowed to train on them; None if the file is gone."""
    with store.read() as conn:
        numbers = select(upload_parts.c.n).where(upload_parts.c.upload_id == upload_id)
        found = list(conn.execute(numbers.order_by(upload_parts.c.n)).scalars())
    return (_part(store, upload_id, n) for n in found) if found else None


def _part(store: Store, upload_id: str, n: int) -> bytes:
    one = (upload_parts.c.upload_id == upload_id) & (upload_parts.c.n == n)
    with store.read() as conn:
        return bytes(conn.execute(select(upload_parts.c.data).where(one)).scalar() or b"")


def remove(store: Store, principal: Principal, upload_id: str) -> None:
    """Delete a file.

    Raises:
        Conflict: a job that has not ended trains on it.
    """
    with store.write() as conn:
        _own(conn, principal, upload_id)
        used = or_(tunings.c.training_file == upload_id, tunings.c.validation_file == upload_id)
        begun = tunings.c.status.in_(("validating_files", "queued", "running"))
        works = or_(
            jobs.c.id.is_(None), jobs.c.state.in_(("queued", "running"))
        )  # else nobody ends it any more
        going_on = or_(tunings.c.status == "paused", and_(begun, works))
        wanted = select(tunings.c.id).outerjoin(jobs, jobs.c.id == tunings.c.job_id).where(used, going_on)
        if (job := conn.execute(wanted).scalar()) is not None:
            raise Conflict(f"the job {job} trains on this file; cancel it first.", code="in_use")
        conn.execute(delete(table).where(table.c.id == upload_id))
        record(conn, store, principal, "file.delete", kind="file", object_id=upload_id)
    scrub(store)


def _own(conn: Connection, principal: Principal, upload_id: str) -> Any:
    return require_on(principal, "file", "file", row_of(conn, table, upload_id))


def _living(store: Store, row: Any) -> Any:
    """Raises NotFound for a file that has expired and is not swept yet."""
    if row.expires_at is not None and row.expires_at <= store.now():
        raise NotFound("there is no such file.")
    return row


def view(row: Any) -> Upload:
    bad = (row.report or {}).get("errors") or []
    return Upload(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at // SECOND,
        expires_at=None if row.expires_at is None else row.expires_at // SECOND,
        filename=row.filename,
        purpose=row.purpose,
        status=row.status,
        status_details=f"line {bad[0]['line']}: {bad[0]['reason']}" if bad else None,
        report=row.report,
    )
