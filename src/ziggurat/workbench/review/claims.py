"""Claims: one person at a time works on an item. A lease of ten minutes, extended by activity, taken over by a lead."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, union, update

from ziggurat.product.common import row_of
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can, require
from ziggurat.store.clock import SECOND
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import (
    claims,
    complaints,
    corrections,
    decisions,
    deliveries,
    items,
    looks,
    notes,
    policies,
)
from ziggurat.workbench.review import hours
from ziggurat.workbench.review.objects import OPEN
from ziggurat.workbench.review.policies import DEFAULT, view
from ziggurat.workbench.review.sending import end_claims, latest, move, note_of

LEASE_S = 600
"""A claim without activity ends after so long."""
BEAT_S = 30
"""A page in view says so more often than this; a longer silence was time away."""
HERE_S = 45
"""Who said so in this time is here."""
TAKES = tuple(state for state in OPEN if state not in ("claimed", "drafting"))
"""States from which an item is claimed."""


def the_item(conn: Connection, principal: Principal, item_id: str) -> Any:
    """The item's row, for whoever reviews; the right is the role's, whoever the customer is."""
    require(principal, "review")
    row = row_of(conn, items, item_id)
    if row is None or row.workspace_id != principal.workspace_id:
        raise NotFound("there is no such review.")
    return row


def open_claim(conn: Connection, store: Store, item: Any) -> Any:
    """The claim that holds now; one whose lease is over is ended, and its item waits again."""
    found = select(claims).where(claims.c.item_id == item.id, claims.c.ended_at.is_(None))
    claim = conn.execute(found).first()
    if claim is not None and claim.expires_at <= store.now():
        end_claims(conn, store, item, "expired")
        if item.state in ("claimed", "rejected"):
            _back(conn, store, None, item, "claim.expire", holder=claim.person_id)
        return None
    return claim


def back_to(conn: Connection, item: Any) -> str:
    """Where an item goes when its claim ends without a decision: to where it waited before."""
    if item.state in ("rejected", "drafting"):
        return "queued"
    last = conn.execute(
        select(decisions.c.decision, decisions.c.version_id, decisions.c.created_at)
        .where(decisions.c.item_id == item.id)
        .order_by(decisions.c.created_at.desc(), decisions.c.id.desc())
        .limit(1)
    ).first()
    if item.reopened and last is not None and _left(conn, item, last.version_id):
        complained = select(complaints.c.id).where(
            complaints.c.item_id == item.id, complaints.c.created_at >= last.created_at
        )
        return "queued" if conn.execute(complained).first() else "delivered"
    if last is not None and last.decision == "escalate":
        return "escalated"
    waits = {"approve": "approved", "edit": "edited", "answer": "answered_by_human", "recall": "edited"}
    return waits.get(last.decision, "queued") if last is not None and item.four_eyes else "queued"


def _left(conn: Connection, item: Any, version_id: str | None) -> bool:
    """Whether a version went to the customer."""
    went = union(
        select(deliveries.c.version_id).where(deliveries.c.item_id == item.id),
        select(corrections.c.version_id).where(corrections.c.item_id == item.id),
    )
    return version_id in set(conn.execute(went).scalars())


def _back(
    conn: Connection, store: Store, principal: Principal | None, item: Any, action: str, **detail: Any
) -> None:
    state = back_to(conn, item)
    more = {"reopened": False} if state == "delivered" else {}
    move(conn, store, principal, item, state, action, detail=detail, **more)


def may_claim(conn: Connection, principal: Principal, item: Any) -> str | None:
    """None, or the code of why not."""
    if item.state == "escalated" and not can(principal, "review.lead"):
        group = conn.execute(select(policies.c.escalates_to).where(policies.c.id == item.policy_id)).scalar()
        if principal.person_id not in {item.escalated_to, *(group or [])}:
            return "escalated"
    if item.four_eyes and item.state in ("approved", "edited", "answered_by_human"):
        newest = latest(conn, item.id)
        decided = select(decisions.c.id).where(
            decisions.c.item_id == item.id,
            decisions.c.version_id == newest.id,
            decisions.c.person_id == principal.person_id,
        )
        if newest.author_id == principal.person_id or conn.execute(decided).first():
            return "four_eyes"
    return None


WHY_NOT = {
    "escalated": "this item waits for the person or the group that it was escalated to.",
    "four_eyes": "you have decided on this text already; a second person has to look at it.",
}


def claim(store: Store, principal: Principal, item_id: str) -> None:
    """Take an item to work on it. Once more extends the own claim.

    Raises:
        Conflict: somebody else holds it (code claimed), it ended, or this person may not decide on it.
    """
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        held = open_claim(conn, store, item)
        item = row_of(conn, items, item_id)
        if held is not None:
            if held.person_id != principal.person_id:
                raise Conflict("somebody else works on this item.", code="claimed")
            _extend(conn, store, held)
            return
        if item.state not in TAKES:
            raise Conflict(f"this item is {item.state}; there is nothing to decide.", code="over")
        if (why := may_claim(conn, principal, item)) is not None:
            raise Conflict(WHY_NOT[why], code="escalated" if why == "escalated" else "four_eyes")
        _begin(conn, store, principal, item, "claim")


def deadlines_from(conn: Connection, item: Any, start: int) -> dict[str, Any]:
    """The deadlines of an item that is looked at from then on."""
    row = conn.execute(select(policies).where(policies.c.id == item.policy_id)).first()
    rules = DEFAULT if row is None else view(row)
    return {
        "claim_due_at": hours.after(start, rules.claim_s, rules.calendar),
        "due_at": hours.after(start, rules.decide_s, rules.calendar),
    }


def _begin(conn: Connection, store: Store, principal: Principal, item: Any, action: str) -> None:
    now = store.now()
    row = {
        "id": new_id("rclaim"),
        "workspace_id": item.workspace_id,
        "item_id": item.id,
        "person_id": principal.person_id,
        "expires_at": now + LEASE_S * SECOND,
        "created_at": now,
    }
    conn.execute(insert(claims).values(row))
    first: dict[str, Any] = {} if item.claimed_at is not None else {"claimed_at": now}
    if item.state == "claimed":
        note_of(conn, store, principal, item, action)
        conn.execute(
            update(items).where(items.c.id == item.id).values(version=item.version + 1, updated_at=now)
        )
    else:
        move(conn, store, principal, item, "claimed", action, **first)


def _extend(conn: Connection, store: Store, held: Any) -> None:
    conn.execute(
        update(claims).where(claims.c.id == held.id).values(expires_at=store.now() + LEASE_S * SECOND)
    )


def release(store: Store, principal: Principal, item_id: str) -> None:
    """Give one's own claim back."""
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        held = open_claim(conn, store, item)
        if held is None or held.person_id != principal.person_id:
            raise Conflict("you do not hold this item.", code="not_claimed")
        item = row_of(conn, items, item_id)
        end_claims(conn, store, item, "released")
        _back(conn, store, principal, item, "release")


def take_over(store: Store, principal: Principal, item_id: str) -> None:
    """A lead takes an item from whoever holds it; a note on the item tells them.

    Raises:
        Conflict: nobody else holds it, or this person may not decide on it.
    """
    require(principal, "review.lead")
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        held = open_claim(conn, store, item)
        if held is None or held.person_id == principal.person_id:
            raise Conflict("nobody else works on this item; claim it.", code="not_claimed")
        if (why := may_claim(conn, principal, item)) is not None:
            raise Conflict(WHY_NOT[why], code="escalated" if why == "escalated" else "four_eyes")
        item = row_of(conn, items, item_id)
        end_claims(conn, store, item, "taken")
        if item.state == "rejected":
            item = move(conn, store, principal, item, "queued", "release")
        _begin(conn, store, principal, item, "take_over")
        told = {
            "id": new_id("rnote"),
            "workspace_id": item.workspace_id,
            "item_id": item.id,
            "person_id": principal.person_id,
            "text": "",
            "mentions": [held.person_id],
            "created_at": store.now(),
        }
        conn.execute(insert(notes).values(told))


def reopen(store: Store, principal: Principal, item_id: str) -> None:
    """Claim what was delivered, to correct it.

    Raises:
        Conflict: it was not delivered.
    """
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        if item.state != "delivered":
            raise Conflict("only what was delivered is corrected.", code="over")
        if (why := may_claim(conn, principal, item)) is not None:
            raise Conflict(WHY_NOT[why], code="escalated" if why == "escalated" else "four_eyes")
        now = store.now()  # whoever reopens it works on it: the time begins anew, without a warning
        again = {"reopened": True, "warned_at": now, **deadlines_from(conn, item, now)}
        conn.execute(update(items).where(items.c.id == item.id).values(again))
        _begin(conn, store, principal, row_of(conn, items, item_id), "reopen")


def look(store: Store, principal: Principal, item_id: str, *, active: bool = False) -> list[str]:
    """A page with the item is in view; `active`: something was typed or pressed, which extends the own claim. Returns
    the ids of the others who are here."""
    with store.write(durable=False) as conn:
        item = the_item(conn, principal, item_id)
        now = store.now()
        mine = conn.execute(
            select(looks).where(looks.c.item_id == item_id, looks.c.person_id == principal.person_id)
        ).first()
        if mine is None:
            row = {"item_id": item_id, "person_id": principal.person_id, "first_at": now, "seen_at": now}
            conn.execute(insert(looks).values(viewed_s=0.0, **row))
        else:
            since = (now - mine.seen_at) / SECOND
            viewed = mine.viewed_s + (since if 0 <= since <= BEAT_S else 0.0)
            conn.execute(
                update(looks)
                .where(looks.c.item_id == item_id, looks.c.person_id == principal.person_id)
                .values(seen_at=now, viewed_s=viewed)
            )
        if active:
            held = open_claim(conn, store, item)
            if held is not None and held.person_id == principal.person_id:
                _extend(conn, store, held)
        return here(conn, store, principal, item_id)


def here(conn: Connection, store: Store, principal: Principal, item_id: str) -> list[str]:
    """The ids of others who have it open now."""
    found = select(looks.c.person_id).where(
        looks.c.item_id == item_id,
        looks.c.person_id != principal.person_id,
        looks.c.seen_at >= store.now() - HERE_S * SECOND,
    )
    return list(conn.execute(found.order_by(looks.c.first_at)).scalars())


def expire_claims(conn: Connection, store: Store) -> int:
    """End all claims whose lease is over; how many."""
    late = select(items).join(claims, claims.c.item_id == items.c.id)
    over = conn.execute(late.where(claims.c.ended_at.is_(None), claims.c.expires_at <= store.now())).all()
    for item in over:
        open_claim(conn, store, item)
    return len(over)
