"""Tokens and requests a day, by person (own budget, else the plan's) and by key; a day is one of UTC.

`check` comes before an answer and `spend` after it, so that one answer may pass the limit and the next is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update

from ziggurat.product.common import row_of
from ziggurat.product.errors import TooMany
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.product.workspaces import settings_of
from ziggurat.store.clock import DAY, iso
from ziggurat.store.store import Store
from ziggurat.store.tables.people import api_keys, memberships
from ziggurat.store.tables.people import usage as counters


class Limit(NamedTuple):
    """What a person or a key may use a day; None is without limit."""

    tokens: int | None
    requests: int | None


def check(store: Store, principal: Principal, tokens: int = 0) -> None:
    """Raise TooMany (code budget) when today's budget does not allow `tokens` more (0: anything more)."""
    if principal.via == "local":
        return
    with store.read() as conn:
        for who, limit in _limits(conn, principal):
            used, requests = _used(conn, store, who)
            over = limit.tokens is not None and used + max(tokens, 1) > limit.tokens
            if over or (limit.requests is not None and requests >= limit.requests):
                kind = "this API key" if who == principal.key_id else "you"
                allowed = f"{limit.tokens:,} tokens" if over else f"{limit.requests:,} requests"
                raise TooMany(
                    f"today's budget of {kind} is used up ({allowed}); it refills at midnight UTC.",
                    code="budget",
                    retry_after_s=_left_s(store),
                )


def spend(store: Store, principal: Principal, *, prompt_tokens: int, completion_tokens: int) -> None:
    """Count one request and its tokens, for the person and, where there is one, the key."""
    with store.write(durable=False) as conn:
        for who in (principal.person_id, principal.key_id):
            if who is not None:
                _count(conn, store, principal, who, prompt_tokens, completion_tokens)


def _count(
    conn: Connection, store: Store, principal: Principal, who: str, prompt_tokens: int, completion_tokens: int
) -> None:
    today = (counters.c.principal == who) & (counters.c.day == _day(store))
    added = conn.execute(
        update(counters)
        .where(today)
        .values(
            requests=counters.c.requests + 1,
            prompt_tokens=counters.c.prompt_tokens + prompt_tokens,
            completion_tokens=counters.c.completion_tokens + completion_tokens,
        )
    )
    if not added.rowcount:
        row = {
            "principal": who,
            "day": _day(store),
            "workspace_id": principal.workspace_id,
            "person_id": principal.person_id,
            "requests": 1,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
        }
        conn.execute(insert(counters).values(row))


def usage(store: Store, principal: Principal) -> dict[str, Any]:
    """{plan, tokens, requests, tokens_per_day, requests_per_day, resets_at} of today, for the person."""
    require(principal, "me")
    with store.read() as conn:
        (_, limit), *_ = _limits(conn, principal)
        tokens, requests = _used(conn, store, principal.person_id)
        return {
            "plan": _plan(conn, principal)[0],
            "tokens": tokens,
            "requests": requests,
            "tokens_per_day": limit.tokens,
            "requests_per_day": limit.requests,
            "resets_at": iso(store.now() // DAY * DAY + DAY),
        }


def used_today(store: Store, principal: Principal, person_ids: Sequence[str]) -> dict[str, int]:
    """Today's tokens of each of these people of the workspace (admin), those through their keys among them."""
    require(principal, "person.read")
    wanted = (
        counters.c.day == _day(store),
        counters.c.workspace_id == principal.workspace_id,
        counters.c.principal.in_(person_ids),
    )
    with store.read() as conn:
        rows = conn.execute(select(counters).where(*wanted)).all()
    return dict.fromkeys(person_ids, 0) | {
        row.principal: row.prompt_tokens + row.completion_tokens for row in rows
    }


def _plan(conn: Connection, principal: Principal) -> tuple[str, Limit]:
    """The plan's name, and what the person may use: a budget of one's own goes before the plan's."""
    member = conn.execute(
        select(memberships.c.plan, memberships.c.tokens_per_day).where(
            memberships.c.person_id == principal.person_id,
            memberships.c.workspace_id == principal.workspace_id,
        )
    ).first()
    settings = settings_of(conn, principal.workspace_id)
    name = member.plan if member and member.plan in settings["plans"] else settings["default_plan"]
    plan = settings["plans"][name]
    own = member.tokens_per_day if member else None
    return name, Limit(plan["tokens_per_day"] if own is None else own, plan["requests_per_day"])


def _limits(conn: Connection, principal: Principal) -> list[tuple[str, Limit]]:
    limits = [(principal.person_id, _plan(conn, principal)[1])]
    if principal.key_id is not None and (key := row_of(conn, api_keys, principal.key_id)) is not None:
        limits.append((principal.key_id, Limit(key.limits.get("tokens_per_day"), None)))
    return limits


def _used(conn: Connection, store: Store, who: str) -> tuple[int, int]:
    row = conn.execute(
        select(counters).where(counters.c.principal == who, counters.c.day == _day(store))
    ).first()
    return (row.prompt_tokens + row.completion_tokens, row.requests) if row else (0, 0)


def _day(store: Store) -> str:
    return iso(store.now())[:10]


def _left_s(store: Store) -> int:
    return int((DAY - store.now() % DAY) // 1_000_000) + 1
