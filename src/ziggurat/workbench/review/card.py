"""The card: everything that an expert needs to decide on one item, and nothing about who the customer is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.people import people
from ziggurat.store.tables.reviews import (
    complaints,
    corrections,
    decisions,
    items,
    notes,
    policies,
    versions,
)
from ziggurat.store.words import index_words
from ziggurat.workbench.review.claims import TAKES, here, may_claim, the_item
from ziggurat.workbench.review.facts import new_facts
from ziggurat.workbench.review.inbox import rows_of
from ziggurat.workbench.review.objects import OPEN, Card, Decided, Earlier, Note, Version, Who
from ziggurat.workbench.review.policies import DEFAULT, REASONS, Policy, view
from ziggurat.workbench.review.sending import note_of, shown_version

SEARCHED = 500
"""So many of the newest decided items are searched for similar ones."""
SIMILAR = 5
ENOUGH = 0.15


def card(store: Store, principal: Principal, item_id: str) -> Card:
    """The card of an item; the view is an audit entry."""
    with store.write() as conn:
        item = the_item(conn, principal, item_id)
        note_of(conn, store, principal, item, "view", detail={"version": item.version})
        return _card(conn, store, principal, item)


def _card(conn: Connection, store: Store, principal: Principal, item: Any) -> Card:
    texts = list(
        conn.execute(select(versions).where(versions.c.item_id == item.id).order_by(versions.c.n)).all()
    )
    said = list(
        conn.execute(
            select(decisions).where(decisions.c.item_id == item.id).order_by(decisions.c.created_at)
        ).all()
    )
    talk = list(
        conn.execute(select(notes).where(notes.c.item_id == item.id).order_by(notes.c.created_at)).all()
    )
    others = here(conn, store, principal, item.id)
    ids = {row.author_id for row in texts} | {row.person_id for row in [*said, *talk]} | set(others)
    names = _names(conn, [*ids, *(one for row in talk for one in row.mentions)])
    (line,) = rows_of(conn, store.now(), [item])
    rules = _rules(conn, item)
    sent = shown_version(conn, item.id)
    mine = line.holder is not None and line.holder.id == principal.person_id
    why_not = may_claim(conn, principal, item)
    return Card(
        item=line,
        prompt=item.prompt,
        versions=[
            Version(
                id=row.id,
                n=row.n,
                author_kind=row.author_kind,
                author=names.get(row.author_id),
                text=row.text,
                instruction=row.instruction,
                created_at=iso(row.created_at),
            )
            for row in texts
        ],
        decisions=[_decided(row, names) for row in said],
        notes=[
            Note(
                id=row.id,
                by=names.get(row.person_id),
                text=row.text,
                mentions=[names[one] for one in row.mentions if one in names],
                created_at=iso(row.created_at),
            )
            for row in talk
        ],
        complaints=_complaints(conn, item.id),
        corrections=_corrections(conn, item.id),
        facts=[fact._asdict() for fact in new_facts(texts[-1].text, _said(item.prompt))],
        signals={name: value for name, value in item.signals.items() if value is not None},
        origin=_origin(item.origin),
        earlier=similar(conn, item),
        here=[names[one] for one in others if one in names],
        reasons=[
            *({"code": code} for code in REASONS),
            *(one.model_dump() for one in rules.texts.reasons),
        ],
        declines=[one.model_dump() for one in rules.texts.declines],
        guideline=None if rules.texts.guideline is None else rules.texts.guideline.model_dump(),
        mine=mine,
        may_claim=not mine and line.holder is None and item.state in TAKES and why_not is None,
        why_not=why_not if item.state in OPEN else None,
        delivered_version_id=None if sent is None else sent.id,
    )


def _rules(conn: Connection, item: Any) -> Policy:
    row = conn.execute(select(policies).where(policies.c.id == item.policy_id)).first()
    return DEFAULT if row is None else view(row)


def _decided(row: Any, names: dict[str, Who]) -> Decided:
    same = ("id", "decision", "decided_by", "reasons", "note", "severe", "seconds", "distance")
    values = {name: getattr(row, name) for name in same}
    return Decided(by=names.get(row.person_id), created_at=iso(row.created_at), **values)


def _said(prompt: Sequence[dict[str, Any]]) -> list[str]:
    return [str(one.get("content") or "") for one in prompt]


def _origin(origin: dict[str, Any] | None) -> dict[str, Any] | None:
    """Of a request of the API: its endpoint and key, not the stored answer."""
    if origin is None:
        return None
    return {name: origin.get(name) for name in ("path", "key", "request_id", "answered")}


def _names(conn: Connection, ids: Iterable[str | None]) -> dict[str, Who]:
    wanted = [one for one in ids if one]
    found = conn.execute(select(people.c.id, people.c.name).where(people.c.id.in_(wanted)))
    return {row.id: Who(id=row.id, name=row.name) for row in found}


def _complaints(conn: Connection, item_id: str) -> list[dict[str, str]]:
    found = select(complaints).where(complaints.c.item_id == item_id).order_by(complaints.c.created_at)
    return [{"text": row.text, "created_at": iso(row.created_at)} for row in conn.execute(found)]


def _corrections(conn: Connection, item_id: str) -> list[dict[str, Any]]:
    found = select(corrections).where(corrections.c.item_id == item_id).order_by(corrections.c.created_at)
    return [
        {
            "kind": row.kind,
            "note": row.note,
            "version_id": row.version_id,
            "created_at": iso(row.created_at),
        }
        for row in conn.execute(found)
    ]


def similar(conn: Connection, item: Any) -> list[Earlier]:
    """Decided items of the workspace whose questions share the most words with this one, weighed by how rare a word
    is among them."""
    old = (
        select(items.c.id, items.c.question, items.c.decided_at)
        .where(
            items.c.workspace_id == item.workspace_id,
            items.c.decided_at.is_not(None),
            items.c.id != item.id,
        )
        .order_by(items.c.decided_at.desc())
        .limit(SEARCHED)
    )
    rows = conn.execute(old).all()
    near = _nearest(item.question, [row.question for row in rows])
    return [_earlier(conn, rows[at], score) for at, score in near]


def _nearest(question: str, others: Sequence[str]) -> list[tuple[int, float]]:
    """(place, similarity from 0 to 1): the weight of shared words over that of all words of both."""
    mine = set(index_words(question))
    bags = [set(index_words(one)) for one in others]
    seen: dict[str, int] = {}
    for bag in bags:
        for word in bag:
            seen[word] = seen.get(word, 0) + 1

    def weight(words: set[str]) -> float:
        return sum(1 / (1 + seen.get(word, 0)) for word in words)

    scored = [(at, weight(mine & bag) / (weight(mine | bag) or 1.0)) for at, bag in enumerate(bags)]
    good = sorted((one for one in scored if one[1] >= ENOUGH), key=lambda one: (-one[1], one[0]))
    return [(at, round(score, 3)) for at, score in good[:SIMILAR]]


def _earlier(conn: Connection, row: Any, score: float) -> Earlier:
    last = conn.execute(
        select(decisions)
        .where(decisions.c.item_id == row.id)
        .order_by(decisions.c.created_at.desc(), decisions.c.id.desc())
        .limit(1)
    ).one()
    sent = shown_version(conn, row.id)
    return Earlier(
        item_id=row.id,
        question=row.question,
        answer=None if sent is None else sent.text,
        decision=last.decision,
        reasons=last.reasons,
        similarity=score,
        decided_at=iso(row.decided_at),
    )
