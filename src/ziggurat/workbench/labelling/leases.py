"""Leases: an opened item is held for a person for a while. A heartbeat extends it; when it ends, the item goes back.

Every function works inside the caller's write, which is the only one at that moment (`store.write`); the constraints
of the table hold whatever the code does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from ziggurat.store.clock import SECOND
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, assignments, items, leases
from ziggurat.workbench.labelling.items import OPEN, settle
from ziggurat.workbench.labelling.rows import settings_of, submitted, usable_chat

LONGEST = 12
"""A lease is extended to at most so many times its length: a forgotten page holds an item no longer."""
KIND = "item"


def sweep(conn: Connection, store: Store, project_id: str) -> int:
    """End the project's expired leases and give their items back; returns how many."""
    late = (
        select(leases.c.id, leases.c.subject_id)
        .join(items, items.c.id == leases.c.subject_id)
        .where(
            leases.c.subject_kind == KIND,
            leases.c.expires_at <= store.now(),
            items.c.project_id == project_id,
        )
    )
    rows = conn.execute(late).all()
    for row in rows:
        conn.execute(delete(leases).where(leases.c.id == row.id))
        settle(conn, store, row.subject_id)
    return len(rows)


def held(conn: Connection, project_id: str, person_id: str) -> list[Any]:
    """The person's leases in a project, the oldest first."""
    wanted = (
        select(leases)
        .join(items, items.c.id == leases.c.subject_id)
        .where(
            leases.c.subject_kind == KIND, leases.c.person_id == person_id, items.c.project_id == project_id
        )
    )
    return list(conn.execute(wanted.order_by(leases.c.created_at, leases.c.id)))


def drop_unusable(conn: Connection, store: Store, project_id: str, person_id: str) -> None:
    """Give back the person's items whose chat may not be used any more."""
    gone = select(items.c.id).where(items.c.project_id == project_id, ~usable_chat())
    wanted = select(leases).where(
        leases.c.subject_kind == KIND, leases.c.person_id == person_id, leases.c.subject_id.in_(gone)
    )
    for lease in conn.execute(wanted).all():
        drop(conn, store, lease)


def lease_of(conn: Connection, item_id: str, person_id: str) -> Any:
    wanted = select(leases).where(
        leases.c.subject_kind == KIND, leases.c.subject_id == item_id, leases.c.person_id == person_id
    )
    return conn.execute(wanted).first()


def free_slots(conn: Connection, item: Any, person_id: str) -> list[int]:
    """Slots of a work item that this person could fill, lowest first. Those that are promised to others by an
    assignment are kept for them, from the end."""
    filled = conn.execute(select(answers.c.slot).where(submitted(item.id), answers.c.slot.is_not(None)))
    taken = {int(slot) for slot in filled.scalars()} | _leased(conn, item.id)
    free = [slot for slot in range(item.min_answers) if slot not in taken]
    holding = select(leases.c.person_id).where(leases.c.subject_kind == KIND, leases.c.subject_id == item.id)
    promised = conn.execute(
        select(func.count())
        .select_from(assignments)
        .where(
            assignments.c.item_id == item.id,
            assignments.c.done_at.is_(None),
            assignments.c.person_id != person_id,
            assignments.c.person_id.not_in(holding),
        )
    ).scalar_one()
    return free[: max(0, len(free) - promised)]


def _leased(conn: Connection, item_id: str) -> set[int]:
    slots = select(leases.c.slot).where(leases.c.subject_kind == KIND, leases.c.subject_id == item_id)
    return {int(slot) for slot in conn.execute(slots).scalars()}


def take(conn: Connection, store: Store, project: Any, item: Any, person_id: str) -> Any:
    """A lease on the lowest free slot, or None where none is free. Known items (gold, training, test) are for everybody
    and have as many slots as people ask for."""
    if item.kind == "work":
        free = free_slots(conn, item, person_id) if item.status in OPEN else []
    else:
        leased = _leased(conn, item.id)
        free = [next(slot for slot in range(len(leased) + 1) if slot not in leased)]
    if not free:
        return None
    now = store.now()
    row = {
        "id": new_id("lease"),
        "workspace_id": project.workspace_id,
        "subject_kind": KIND,
        "subject_id": item.id,
        "slot": free[0],
        "person_id": person_id,
        "version": 0,
        "expires_at": now + _length(project),
        "created_at": now,
    }
    conn.execute(insert(leases).values(row))
    settle(conn, store, item.id)
    return lease_of(conn, item.id, person_id)


def extend(conn: Connection, store: Store, project: Any, lease: Any) -> int:
    """A heartbeat; returns when the lease ends now."""
    length = _length(project)
    until: int = min(store.now() + length, lease.created_at + LONGEST * length)
    until = max(until, lease.expires_at)
    conn.execute(
        update(leases)
        .where(leases.c.id == lease.id, leases.c.version == lease.version)
        .values(expires_at=until, version=lease.version + 1)
    )
    return until


def drop(conn: Connection, store: Store, lease: Any) -> None:
    conn.execute(delete(leases).where(leases.c.id == lease.id))
    settle(conn, store, lease.subject_id)


def drop_all(conn: Connection, store: Store, person_id: str, project_ids: Collection[str]) -> None:
    """All leases of a person in some projects."""
    for project_id in project_ids:
        for lease in held(conn, project_id, person_id):
            drop(conn, store, lease)


def _length(project: Any) -> int:
    return settings_of(project).lease_minutes * 60 * SECOND
