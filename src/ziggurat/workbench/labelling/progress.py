"""Progress: of a project by status, language and person, with throughput, median time and what is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import mean, median
from typing import Any

from sqlalchemy import Connection, and_, exists, func, select

from ziggurat.product.principal import Principal
from ziggurat.product.rights import ACTIONS
from ziggurat.store.clock import DAY, iso, iso_or_none
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, assignments, flags, items, members, skips
from ziggurat.store.tables.people import memberships, people
from ziggurat.workbench.labelling.items import OPEN
from ziggurat.workbench.labelling.objects import Member
from ziggurat.workbench.labelling.rows import project_row, seen_project

RECENT_DAYS = 7
DONE = ("completed", "adjudicated", "conflicted")


def of_project(store: Store, principal: Principal, project_id: str) -> dict[str, Any]:
    """For a lead: items by status and language, answers that are in and wanted, answers a day over the last seven days,
    the median time of an answer, and in how many days the rest is done at this rate (None: nobody works)."""
    with store.read() as conn:
        project_row(conn, principal, project_id)
        work = conn.execute(
            select(
                items.c.status,
                items.c.lang,
                func.count().label("items"),
                func.sum(items.c.answers).label("answers"),
                func.sum(items.c.min_answers).label("wanted"),
            )
            .where(items.c.project_id == project_id, items.c.kind == "work")
            .group_by(items.c.status, items.c.lang)
        ).all()
        known_items = conn.execute(
            select(items.c.kind, func.count())
            .where(items.c.project_id == project_id, items.c.kind != "work")
            .group_by(items.c.kind)
        ).all()
        recent = _recent(conn, store, project_id)
        times = _times(conn, project_id)
    statuses: Counter[str] = Counter()
    langs: dict[str, dict[str, int]] = defaultdict(lambda: {"items": 0, "done": 0})
    left = 0
    for row in work:
        statuses[row.status] += row.items
        langs[row.lang or ""]["items"] += row.items
        if row.status in DONE:
            langs[row.lang or ""]["done"] += row.items
        if row.status in OPEN:
            left += int(row.wanted) - int(row.answers)
    a_day = recent["answers"] / recent["days"] if recent["days"] else 0.0
    return {
        "items": sum(statuses.values()),
        "statuses": dict(statuses),
        "known": {row[0]: row[1] for row in known_items},
        "langs": dict(langs),
        "answers": sum(int(row.answers) for row in work),
        "answers_left": left,
        "answers_a_day": round(a_day, 2),
        "median_seconds": median(times) if times else None,
        "days_left": round(left / a_day, 2) if a_day else None,
    }


def _recent(conn: Connection, store: Store, project_id: str) -> dict[str, float]:
    """Answers of the last seven days, and the days since the first of them (a part of a day counts as one)."""
    since = store.now() - RECENT_DAYS * DAY
    row = conn.execute(
        select(func.count().label("n"), func.min(answers.c.created_at).label("first"))
        .join(items, items.c.id == answers.c.item_id)
        .where(
            answers.c.project_id == project_id,
            answers.c.status == "submitted",
            items.c.kind == "work",
            answers.c.created_at >= since,
        )
    ).one()
    if not row.n:
        return {"answers": 0, "days": 0}
    return {"answers": row.n, "days": max(1.0, (store.now() - row.first) / DAY)}


def _times(conn: Connection, project_id: str) -> list[float]:
    wanted = select(answers.c.seconds).where(
        answers.c.project_id == project_id, answers.c.status == "submitted", answers.c.seconds.is_not(None)
    )
    return [float(one) for one in conn.execute(wanted).scalars()]


def people_of(store: Store, principal: Principal, project_id: str) -> list[Member]:
    """Every person of a project for a lead, by name."""
    with store.read() as conn:
        project_row(conn, principal, project_id)
        rows = conn.execute(
            select(members, people.c.name.label("name"), memberships.c.role.label("role"))
            .join(people, people.c.id == members.c.person_id)
            .join(
                memberships,
                and_(
                    memberships.c.person_id == members.c.person_id,
                    memberships.c.workspace_id == members.c.workspace_id,
                ),
            )
            .where(members.c.project_id == project_id)
            .order_by(people.c.name, people.c.id)
        ).all()
        done = _answers_by_person(conn, project_id)
        skipped = _count_by_person(conn, skips, project_id)
        flagged = _count_by_person(conn, flags, project_id)
    return [_member(row, done.get(row.person_id, []), skipped, flagged) for row in rows]


def _member(row: Any, done: list[Any], skipped: dict[str, int], flagged: dict[str, int]) -> Member:
    times = [one.seconds for one in done if one.seconds is not None]
    gold = [one.score for one in done if one.kind == "gold" and one.score is not None]
    last = max((one.created_at for one in done), default=None)
    return Member(
        person_id=row.person_id,
        name=row.name,
        role=row.role,
        state=row.state,
        skills=row.skills,
        scores=row.scores,
        trust=row.trust,
        answers=sum(one.kind == "work" for one in done),
        median_seconds=median(times) if times else None,
        gold_accuracy=round(mean(gold), 4) if gold else None,
        gold_answers=len(gold),
        skips=skipped.get(row.person_id, 0),
        flags=flagged.get(row.person_id, 0),
        last_at=iso_or_none(last),
    )


def _answers_by_person(conn: Connection, project_id: str) -> dict[str, list[Any]]:
    rows = conn.execute(
        select(answers.c.person_id, answers.c.seconds, answers.c.score, answers.c.created_at, items.c.kind)
        .join(items, items.c.id == answers.c.item_id)
        .where(answers.c.project_id == project_id, answers.c.status == "submitted")
    )
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[row.person_id].append(row)
    return found


def _count_by_person(conn: Connection, table: Any, project_id: str) -> dict[str, int]:
    rows = conn.execute(
        select(table.c.person_id, func.count())
        .where(table.c.project_id == project_id)
        .group_by(table.c.person_id)
    )
    return {row[0]: row[1] for row in rows}


def candidates(store: Store, principal: Principal, project_id: str) -> list[dict[str, str]]:
    """People of the workspace who may label, for a lead who adds or assigns: `[{id, name, role}]`."""
    roles = [role for role, level in ACTIONS["label"][1].items() if level]
    with store.read() as conn:
        project_row(conn, principal, project_id)
        rows = conn.execute(
            select(people.c.id, people.c.name, memberships.c.role)
            .join(memberships, memberships.c.person_id == people.c.id)
            .where(
                memberships.c.workspace_id == principal.workspace_id,
                memberships.c.role.in_(roles),
                people.c.status == "active",
            )
            .order_by(people.c.name, people.c.id)
        )
        return [{"id": row.id, "name": row.name, "role": row.role} for row in rows]


def of_person(conn: Connection, person_id: str, project_id: str) -> dict[str, Any]:
    """What one person sees of a project: items that are open to that person, what is done, what was assigned."""
    fresh = ~exists().where(answers.c.item_id == items.c.id, answers.c.person_id == person_id)
    work = (items.c.project_id == project_id) & (items.c.kind == "work")
    mine = (answers.c.project_id == project_id) & (answers.c.person_id == person_id)
    count = select(func.count())
    open_items = conn.execute(
        count.select_from(items).where(work, items.c.status.in_(OPEN), fresh)
    ).scalar_one()
    total = conn.execute(count.select_from(items).where(work, items.c.status != "halted")).scalar_one()
    done_items = conn.execute(count.select_from(items).where(work, items.c.status.in_(DONE))).scalar_one()
    done = conn.execute(
        select(func.count().label("n"), func.max(answers.c.created_at).label("last")).where(
            mine, answers.c.status == "submitted"
        )
    ).one()
    assigned = conn.execute(
        count.select_from(assignments).where(
            assignments.c.project_id == project_id,
            assignments.c.person_id == person_id,
            assignments.c.done_at.is_(None),
        )
    ).scalar_one()
    return {
        "open": open_items,
        "items": total,
        "done": done_items,
        "mine": done.n,
        "assigned": assigned,
        "last_at": None if done.last is None else iso(done.last),
    }


def tests_to_grade(store: Store, principal: Principal, project_id: str) -> list[dict[str, Any]]:
    """Written test answers that wait for a lead's mark, the oldest first."""
    with store.read() as conn:
        project_row(conn, principal, project_id)
        rows = conn.execute(
            select(answers.c.id, people.c.name, items.c.payload, judgements.c.value, answers.c.created_at)
            .join(items, items.c.id == answers.c.item_id)
            .join(people, people.c.id == answers.c.person_id)
            .join(judgements, judgements.c.id == answers.c.judgement_id)
            .where(
                answers.c.project_id == project_id,
                answers.c.status == "submitted",
                answers.c.score.is_(None),
                items.c.kind == "test",
            )
            .order_by(answers.c.id)
            .limit(200)
        )
        return [
            {
                "answer_id": row.id,
                "name": row.name,
                "messages": row.payload["messages"],
                "value": row.value,
                "created_at": iso(row.created_at),
            }
            for row in rows
        ]


def my_answers(
    store: Store, principal: Principal, project_id: str, *, limit: int = 50
) -> list[dict[str, Any]]:
    """My last answers in a project, the newest first, to look at or change."""
    with store.read() as conn:
        seen_project(conn, principal, project_id)
        rows = conn.execute(
            select(answers.c.item_id, answers.c.status, answers.c.created_at, items.c.payload, items.c.status)
            .join(items, items.c.id == answers.c.item_id)
            .where(
                answers.c.project_id == project_id,
                answers.c.person_id == principal.person_id,
                answers.c.status.in_(("submitted", "extra")),
                items.c.kind.in_(("work", "gold")),
            )
            .order_by(answers.c.id.desc())
            .limit(limit)
        ).all()
    return [
        {
            "item_id": row[0],
            "status": row[1],
            "created_at": iso(row[2]),
            "preview": _preview(row[3]),
            "changeable": row[1] == "submitted" and row[4] not in ("adjudicated", "halted"),
        }
        for row in rows
    ]


def _preview(payload: dict[str, Any]) -> str:
    texts = [message["content"] for message in payload["messages"] if message["role"] == "user"]
    return " ".join((texts[-1] if texts else payload.get("brief", "")).split())[:120]
