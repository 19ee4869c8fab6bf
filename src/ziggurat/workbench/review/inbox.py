"""The inbox: what waits, by the time that is left and then by risk; filters, saved views, counts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, String, and_, case, cast, delete, func, insert, or_, select

from ziggurat.product.common import clean_name, known, page_size, record, row_of
from ziggurat.product.errors import Invalid, NotFound
from ziggurat.product.objects import Page
from ziggurat.product.principal import Principal
from ziggurat.product.rights import ACTIONS, require
from ziggurat.store.clock import SECOND, iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.people import memberships, people
from ziggurat.store.tables.reviews import claims, items, notes, saved_views, seconds
from ziggurat.store.words import query_words, runs
from ziggurat.workbench.review.objects import OPEN, Row, Who, unclaimed

FILTERS = ("show", "topic", "lang", "customer", "model", "risk", "age", "state", "query", "channel")
SHOWS = ("open", "mine", "late", "mentions", "done", "all")
MAX_VIEWS = 50
MAX_DEEP = 10_000


def inbox(
    store: Store,
    principal: Principal,
    filters: Mapping[str, Any] | None = None,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Row]:
    """One page. `filters`: show (open, mine, late, mentions, done, all), topic, lang, customer, model, risk (at least),
    age (at least so many hours), state, channel, query (words of the question)."""
    require(principal, "review")
    limit, start = page_size(limit), _start(cursor)
    with store.read() as conn:
        wanted = _wanted(principal, store.now(), checked(filters or {}))
        found = conn.execute(wanted.offset(start).limit(limit + 1)).all()
        rows = rows_of(conn, store.now(), found[:limit])
    return Page(data=rows, next=str(start + limit) if len(found) > limit else None)


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal() or int(cursor) > MAX_DEEP:
        raise Invalid("this cursor is not one that this list gave; begin without a cursor.", param="cursor")
    return int(cursor)


def checked(filters: Mapping[str, Any]) -> dict[str, Any]:
    """
    Raises:
        Invalid: an unknown filter, or a value that is not allowed.
    """
    found = {name: value for name, value in known(filters, FILTERS).items() if value not in (None, "")}
    if (show := found.get("show", "open")) not in SHOWS:
        raise Invalid(f"show is {show!r}; it must be one of {', '.join(SHOWS)}.", param="show")
    for name in ("risk", "age"):
        if name in found:
            try:
                found[name] = float(found[name])
            except (TypeError, ValueError):
                raise Invalid(f"{name} must be a number.", param=name) from None
    return {
        name: value if name in ("risk", "age") else clean_name(value, name) for name, value in found.items()
    }


def _wanted(principal: Principal, now: int, filters: Mapping[str, Any]) -> Select[Any]:
    wanted = select(items).where(items.c.workspace_id == principal.workspace_id)
    show, me = filters.get("show", "open"), principal.person_id
    if show == "open":
        wanted = wanted.where(items.c.state.in_(OPEN))
    elif show == "late":
        wanted = wanted.where(items.c.state.in_(OPEN), items.c.due_at <= now)
    elif show == "done":
        wanted = wanted.where(items.c.state.not_in(OPEN))
    elif show == "mine":
        holds = select(claims.c.item_id).where(claims.c.person_id == me, claims.c.ended_at.is_(None))
        to_me = and_(items.c.state == "escalated", items.c.escalated_to == me)
        wanted = wanted.where(or_(items.c.id.in_(holds), to_me))
    elif show == "mentions":
        wanted = wanted.where(items.c.id.in_(select(notes.c.item_id).where(_names(me))))
    for name, column in (
        ("topic", items.c.topic),
        ("lang", items.c.lang),
        ("model", items.c.model),
        ("state", items.c.state),
        ("channel", items.c.channel),
    ):
        if name in filters:
            wanted = wanted.where(column == filters[name])
    if "risk" in filters:
        wanted = wanted.where(items.c.risk >= filters["risk"])
    if "age" in filters:
        wanted = wanted.where(items.c.created_at <= now - int(filters["age"] * 3600 * SECOND))
    if "customer" in filters:
        wanted = wanted.where(items.c.person_id.in_(_customers(filters["customer"])))
    if "query" in filters:
        words, prefix = query_words(filters["query"])
        for word in [*words, *([prefix] if prefix else [])]:
            like = f"%{word.replace('%', '').replace('_', '')}%"
            wanted = wanted.where(func.lower(items.c.question).like(like))
    if show in ("done", "all"):
        return wanted.order_by(items.c.updated_at.desc(), items.c.id.desc())
    return wanted.order_by(items.c.priority.desc(), items.c.due_at, items.c.risk.desc(), items.c.id)


def _names(person_id: str) -> Any:
    """Notes that mention a person: the id is in the JSON list, in quotes."""
    return cast(notes.c.mentions, String).like(f'%"{person_id}"%')


def _customers(short: str) -> Any:
    """A customer is filtered by the short name that the inbox shows, which holds the end of the id."""
    return select(people.c.id).where(people.c.id.like(f"%{''.join(runs(short))[-8:]}"))


def customer_name(person_id: str | None) -> str | None:
    """A name of a customer that says nothing about the person, the same for all of one person's questions."""
    return None if person_id is None else f"C-{person_id[-8:]}"


def rows_of(conn: Connection, now: int, found: Sequence[Any]) -> list[Row]:
    holders = _holders(conn, now, [row.id for row in found])
    return [_view(row, now, holders.get(row.id)) for row in found]


def _holders(conn: Connection, now: int, ids: Sequence[str]) -> dict[str, tuple[Who, int]]:
    held = (
        select(claims.c.item_id, claims.c.person_id, claims.c.expires_at, people.c.name)
        .join(people, people.c.id == claims.c.person_id)
        .where(claims.c.item_id.in_(ids), claims.c.ended_at.is_(None), claims.c.expires_at > now)
    )
    return {row.item_id: (Who(id=row.person_id, name=row.name), row.expires_at) for row in conn.execute(held)}


def _view(row: Any, now: int, holder: tuple[Who, int] | None) -> Row:
    same = (
        "id",
        "state",
        "version",
        "channel",
        "topic",
        "risk",
        "priority",
        "four_eyes",
        "reopened",
        "routed",
    )
    return Row(
        **{name: getattr(row, name) for name in same},
        question=row.question,
        model=row.model,
        lang=row.lang,
        customer=customer_name(row.person_id),
        due_at=iso(row.due_at),
        claim_due_at=iso(row.claim_due_at),
        late=row.due_at <= now and row.state in OPEN,
        warned=row.warned_at is not None,
        unclaimed=unclaimed(row),
        holder=holder[0] if holder else None,
        holder_until=iso(holder[1]) if holder else None,
        created_at=iso(row.created_at),
    )


def counts(store: Store, principal: Principal) -> dict[str, Any]:
    """Live numbers: of each way to look at the inbox, by topic, and a mark that changes when the queue does."""
    require(principal, "review")
    now = store.now()
    with store.read() as conn:
        mine = items.c.workspace_id == principal.workspace_id
        is_open = items.c.state.in_(OPEN)
        late = func.sum(case((items.c.due_at <= now, 1), else_=0))
        newest = func.max(items.c.updated_at)
        total = conn.execute(
            select(func.count(), late, func.min(items.c.created_at)).where(mine, is_open)
        ).one()
        topics = conn.execute(
            select(items.c.topic, func.count()).where(mine, is_open).group_by(items.c.topic)
        ).all()
        held = conn.execute(
            select(func.count())
            .select_from(claims)
            .where(
                claims.c.person_id == principal.person_id,
                claims.c.ended_at.is_(None),
                claims.c.expires_at > now,
            )
        ).scalar_one()
        told = conn.execute(
            select(func.count(notes.c.item_id.distinct()))
            .join(items, items.c.id == notes.c.item_id)
            .where(mine, is_open, _names(principal.person_id))
        ).scalar_one()
        blind = conn.execute(
            select(func.count()).where(
                seconds.c.workspace_id == principal.workspace_id, seconds.c.decided_at.is_(None)
            )
        ).scalar_one()
        changed = conn.execute(select(newest).where(mine)).scalar()
    mark = hashlib.sha256(f"{changed}:{total[0]}:{held}".encode()).hexdigest()[:12]
    return {
        "open": total[0],
        "late": int(total[1] or 0),
        "oldest_at": None if total[2] is None else iso(total[2]),
        "mine": held,
        "mentions": told,
        "seconds": blind,
        "topics": {row[0]: row[1] for row in topics},
        "mark": mark,
    }


def reviewers(store: Store, principal: Principal) -> list[Who]:
    """Everybody who reviews here, for mentions and escalations."""
    require(principal, "review")
    able = [role for role, level in ACTIONS["review"][1].items() if level]
    found = (
        select(people.c.id, people.c.name)
        .join(memberships, memberships.c.person_id == people.c.id)
        .where(
            memberships.c.workspace_id == principal.workspace_id,
            memberships.c.role.in_(able),
            people.c.status == "active",
        )
        .order_by(people.c.name, people.c.id)
    )
    with store.read() as conn:
        return [Who(id=row.id, name=row.name) for row in conn.execute(found)]


# --- saved views ----------------------------------------------------------------------------------------------------


def list_views(store: Store, principal: Principal) -> list[dict[str, Any]]:
    """One's own saved filters."""
    require(principal, "review")
    found = select(saved_views).where(
        saved_views.c.person_id == principal.person_id, saved_views.c.workspace_id == principal.workspace_id
    )
    with store.read() as conn:
        rows = conn.execute(found.order_by(saved_views.c.name, saved_views.c.id)).all()
    return [{"id": row.id, "name": row.name, "filters": row.filters} for row in rows]


def save_view(store: Store, principal: Principal, name: str, filters: Mapping[str, Any]) -> dict[str, Any]:
    require(principal, "review")
    row: dict[str, Any] = {"id": new_id("rview"), "name": clean_name(name), "filters": checked(filters)}
    if len(list_views(store, principal)) >= MAX_VIEWS:
        raise Invalid(f"there are {MAX_VIEWS} saved views; delete one first.", param="name")
    with store.write() as conn:
        whose = {"workspace_id": principal.workspace_id, "person_id": principal.person_id}
        conn.execute(insert(saved_views).values(**row, **whose, created_at=store.now()))
    return row


def delete_view(store: Store, principal: Principal, view_id: str) -> None:
    require(principal, "review")
    with store.write() as conn:
        row = row_of(conn, saved_views, view_id)
        if row is None or row.person_id != principal.person_id:
            raise NotFound("there is no such view.")
        conn.execute(delete(saved_views).where(saved_views.c.id == view_id))
        record(conn, store, principal, "review.view.delete", kind="review_view", object_id=view_id)
