"""The clock of the review: leases that are over, deadlines that come near, deadlines that passed.

Nothing is ever released because it is late. A late item is raised in the inbox, its customer reads the holding message,
and the webhook gets an event. One that is not claimed in time is raised too, with an event of its own. `tick` runs
every few seconds and may run twice: each step is done once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from ziggurat.product.common import row_of
from ziggurat.store.clock import SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import claims, complaints, items
from ziggurat.workbench.review.claims import expire_claims
from ziggurat.workbench.review.objects import OPEN
from ziggurat.workbench.review.sending import enqueue, move, note_of

WARN_AT = 0.75
"""The part of the time after which an item is marked as near its deadline."""
DRAFTING_S = 900
"""A model that has written another draft for so long has lost its process."""


@dataclass(frozen=True)
class Ticked:
    leases: int = 0
    warned: int = 0
    unclaimed: int = 0
    breached: int = 0
    lost: int = 0


def tick(store: Store) -> Ticked:
    """What time has brought."""
    now = store.now()
    with store.read() as conn:  # mostly there is nothing to do, and no writer waits for it
        every = (_leases(now), *_due(now), _unclaimed(now), _lost(now))
        if not any(conn.execute(one.limit(1)).first() for one in every):
            return Ticked()
    with store.write() as conn:
        leases = expire_claims(conn, store)
        near, late = _due(now)
        warned, breached = conn.execute(near).all(), conn.execute(late).all()
        unclaimed = conn.execute(_unclaimed(now)).all()
        for row in warned:
            _warn(conn, store, row)
        for row in unclaimed:
            _breach(conn, store, row, "unclaimed")
        for row in breached:
            _breach(conn, store, row, "late")
        lost = conn.execute(_lost(now)).all()
        for row in lost:
            _lose(conn, store, row)
        return Ticked(leases, len(warned), len(unclaimed), len(breached), len(lost))


def _leases(now: int) -> Any:
    return select(claims.c.id).where(claims.c.ended_at.is_(None), claims.c.expires_at <= now)


def _due(now: int) -> tuple[Any, Any]:
    """Items near their deadline that were not warned of, and items past it that were not raised."""
    is_open, start = items.c.state.in_(OPEN), _start()
    near_at = start + (items.c.due_at - start) * WARN_AT
    near = select(items).where(is_open, items.c.warned_at.is_(None), near_at <= now)
    late = select(items).where(is_open, _not_raised(items.c.due_at), items.c.due_at <= now)
    return near, late


def _start() -> Any:
    """When the time of an item begins: with it, or with the last complaint about it."""
    complained = select(func.max(complaints.c.created_at)).where(complaints.c.item_id == items.c.id)
    return func.coalesce(complained.scalar_subquery(), items.c.created_at)


def _unclaimed(now: int) -> Any:
    """Items that wait and have not been claimed in the time to claim, while the time to decide still runs."""
    since = select(claims.c.id).where(claims.c.item_id == items.c.id, claims.c.created_at >= _start())
    return select(items).where(
        items.c.state.in_(("queued", "escalated")),
        items.c.claim_due_at <= now,
        items.c.due_at > now,
        _not_raised(items.c.claim_due_at),
        ~since.exists(),
    )


def _not_raised(deadline: Any) -> Any:
    """That this deadline was not raised; an earlier one may have been."""
    return items.c.breached_at.is_(None) | (items.c.breached_at < deadline)


def _lost(now: int) -> Any:
    return select(items).where(items.c.state == "drafting", items.c.updated_at <= now - DRAFTING_S * SECOND)


def _warn(conn: Connection, store: Store, item: Any) -> None:
    conn.execute(update(items).where(items.c.id == item.id).values(warned_at=store.now()))
    note_of(conn, store, None, item, "sla.warn", detail={"topic": item.topic, "risk": item.risk})


def _breach(conn: Connection, store: Store, item: Any, what: str) -> None:
    """Raised above everything that is in time. Once the time to decide is over, its customer reads that it takes
    longer."""
    now = store.now()
    raised = {"breached_at": now, "priority": item.priority + 1, "updated_at": now}
    conn.execute(update(items).where(items.c.id == item.id).values(raised))
    enqueue(conn, store, item, f"review.{what}")
    detail = {"topic": item.topic, "risk": item.risk, "what": what}
    note_of(conn, store, None, item, "sla.breach", detail=detail)


def _lose(conn: Connection, store: Store, item: Any) -> None:
    held = select(claims.c.id).where(claims.c.item_id == item.id, claims.c.ended_at.is_(None))
    state = "rejected" if conn.execute(held).first() else "queued"
    move(conn, store, None, row_of(conn, items, item.id), state, "regenerate.lost")
