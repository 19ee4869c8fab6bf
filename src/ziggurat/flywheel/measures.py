"""What behaviour says about the answers: satisfaction, "felt not understood", approval, retention (A112, A113).

Only counts leave this file. An answer is **not understood** if the person gave it a thumb down, asked for another one,
changed the question, or asked nearly the same again (ALIKE of the words). All shares have Wilson intervals.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, func, select

from ziggurat.evaluation.diversity import units
from ziggurat.evaluation.statistics import wilson
from ziggurat.store.clock import DAY, iso
from ziggurat.store.store import Store
from ziggurat.store.tables.chats import chats, messages
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.people import memberships, people

DAYS = 28
WEEK = 7
ALIKE = 0.6
DECIDED = ("approve", "edit", "reject", "answer")


def measures(store: Store, workspace_id: str, *, days: int = DAYS) -> dict[str, Any]:
    """The figures of the last days, as a whole and by release."""
    since = store.now() - days * DAY
    with store.read() as conn:
        thumbs = _thumbs(conn, workspace_id, since)
        turns = _turns(conn, workspace_id, since, {one["message_id"] for one in thumbs if one["value"] == -1})
        decided = _decisions(conn, workspace_id, since)
        kept, before = _retention(conn, workspace_id, store.now())
        joined = conn.execute(
            select(func.count())
            .select_from(people.join(memberships, memberships.c.person_id == people.c.id))
            .where(
                memberships.c.workspace_id == workspace_id, people.c.created_at >= store.now() - WEEK * DAY
            )
        ).scalar_one()
    up = [one for one in thumbs if one["value"] == 1]
    approved = [one for one in decided if one["decision"] == "approve"]
    return {
        "days": days,
        "since": iso(since),
        "satisfaction": wilson(len(up), len(thumbs)).to_dict(),
        "thumbs": {"up": len(up), "down": len(thumbs) - len(up)},
        "not_understood": _per_100(turns),
        "approved_unchanged": wilson(len(approved), len(decided)).to_dict(),
        "retention": wilson(kept, before).to_dict(),
        "new_people": joined,
        "by_release": by_release(thumbs, turns, decided),
    }


def _per_100(turns: list[dict[str, Any]]) -> dict[str, Any]:
    share = wilson(sum(one["missed"] for one in turns), len(turns)).to_dict()
    return {
        name: 100 * value if name in ("value", "low", "high") and value is not None else value
        for name, value in share.items()
    }


def by_release(
    thumbs: list[dict[str, Any]], turns: list[dict[str, Any]], decided: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Satisfaction, not-understood and approval of each release that answered."""
    names = sorted({str(one["release"]) for one in (*thumbs, *turns, *decided) if one["release"]})
    rows = []
    for name in names:
        mine, said, done = (
            [one for one in some if one["release"] == name] for some in (thumbs, turns, decided)
        )
        up = sum(one["value"] == 1 for one in mine)
        good = sum(one["decision"] == "approve" for one in done)
        rows.append(
            {
                "release": name,
                "answers": len(said),
                "satisfaction": wilson(up, len(mine)).to_dict(),
                "not_understood": _per_100(said),
                "approved_unchanged": wilson(good, len(done)).to_dict(),
            }
        )
    return rows


def _current(workspace_id: str, since: int, kinds: Iterable[str]) -> Any:
    return select(judgements).where(
        judgements.c.workspace_id == workspace_id,
        judgements.c.kind.in_(list(kinds)),
        judgements.c.created_at >= since,
        judgements.c.superseded_by.is_(None),
        judgements.c.withdrawn_at.is_(None),
    )


def _release(row: Any) -> str | None:
    """The release that wrote what was judged."""
    hashes = next(iter((row.hashes or {}).values()), None) or {}
    return hashes.get("release")


def _thumbs(conn: Connection, workspace_id: str, since: int) -> list[dict[str, Any]]:
    rows = conn.execute(_current(workspace_id, since, ("thumb",)))
    return [
        {"value": row.value.get("value"), "message_id": row.message_id, "release": _release(row)}
        for row in rows
        if row.value.get("value") in (1, -1)
    ]


def _decisions(conn: Connection, workspace_id: str, since: int) -> list[dict[str, Any]]:
    rows = conn.execute(_current(workspace_id, since, ("decision",)))
    return [
        {"decision": row.value.get("decision"), "release": _release(row)}
        for row in rows
        if row.value.get("decision") in DECIDED
    ]


def _turns(conn: Connection, workspace_id: str, since: int, disliked: set[str]) -> list[dict[str, Any]]:
    """Each finished answer: by which release, and whether its person felt not understood."""
    wanted = (
        select(messages.c.id, messages.c.parent_id, messages.c.chat_id, messages.c.role, messages.c.content)
        .add_columns(messages.c.hashes, messages.c.pair_id)
        .where(messages.c.workspace_id == workspace_id, messages.c.created_at >= since)
        .order_by(messages.c.chat_id, messages.c.id)
    )
    children: dict[str, list[Any]] = defaultdict(list)
    by_id: dict[str, Any] = {}
    answers = []
    for row in conn.execute(wanted):
        by_id[row.id] = row
        children[row.parent_id or row.chat_id].append(row)
        if row.role == "assistant":
            answers.append(row)
    return [
        {
            "release": (row.hashes or {}).get("release"),
            "missed": row.id in disliked or _asked_again(row, by_id, children),
        }
        for row in answers
    ]


def _asked_again(answer: Any, by_id: dict[str, Any], children: dict[str, list[Any]]) -> bool:
    question = by_id.get(answer.parent_id or "")
    later = [
        one
        for one in children[answer.parent_id or answer.chat_id]
        if one.role == "assistant" and one.id > answer.id and one.pair_id is None
    ]
    if later:
        return True  # another answer to the same question was asked for
    if question is None:
        return False
    edited = [
        one
        for one in children[question.parent_id or question.chat_id]
        if one.role == "user" and one.id > question.id
    ]
    if edited:
        return True  # the question was written anew
    return any(one.role == "user" and alike(question.content, one.content) for one in children[answer.id])


def alike(one: str, other: str) -> bool:
    """Whether two questions share most of their words.

    >>> alike("Where does Ana live?", "where does Ana live then?"), alike("Where does Ana live?", "Thank you.")
    (True, False)
    """
    a, b = ({word.casefold() for word in units(text)} for text in (one, other))
    return bool(a and b) and len(a & b) / len(a | b) >= ALIKE


def _retention(conn: Connection, workspace_id: str, now: int) -> tuple[int, int]:
    """Of the people who asked something in the week before the last one, how many did in the last one."""

    def active(first: int, last: int) -> set[str]:
        wanted = (
            select(chats.c.person_id)
            .join(messages, messages.c.chat_id == chats.c.id)
            .where(messages.c.role == "user", messages.c.workspace_id == workspace_id)
            .where(messages.c.created_at >= now - last * DAY, messages.c.created_at < now - first * DAY)
            .distinct()
        )
        return set(conn.execute(wanted).scalars())

    before, after = active(WEEK, 2 * WEEK), active(0, WEEK)
    return len(before & after), len(before)
