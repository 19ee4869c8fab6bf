"""The next item for a labeller: training and test first, then what a lead assigned, gold at its rate, then the queue.

Never given: an item whose prompt or completion the person wrote, one that the person answered, skipped or gave back,
one of another language or skill than the person has, one of a category that the person opted out of.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, or_, select

from ziggurat.product.common import row_of
from ziggurat.product.principal import Principal
from ziggurat.store.clock import iso
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import (
    answers,
    assignments,
    drafts,
    item_authors,
    items,
    skips,
)
from ziggurat.store.tables.labelling import leases as leased
from ziggurat.workbench.labelling import leases
from ziggurat.workbench.labelling.guidelines import to_acknowledge
from ziggurat.workbench.labelling.habits import habits_row
from ziggurat.workbench.labelling.items import OPEN
from ziggurat.workbench.labelling.members import joined
from ziggurat.workbench.labelling.objects import Task
from ziggurat.workbench.labelling.rows import open_project, settings_of, usable_chat, version_row

MAX_HELD = 2
"""Items that a person holds in one project: the one on the screen and the next, which is fetched ahead."""
LOOK_AT = 10
"""Candidates that are read at once."""


def next_item(
    store: Store, principal: Principal, project_id: str, *, holding: Collection[str] = ()
) -> dict[str, Any]:
    """The next item for this person, held from now on. `holding`: items that are on the page already.

    Returns `{task, reason, state, guideline}`. Without a task the reason says why: `acknowledge` (read the guidelines
    first), `held` (so many are open already), `blocked`, `failed` (below the cut-off of the test), `graded` (a lead has
    yet to read the test), `assigned_only` or `none_left`.
    """
    with store.write() as conn:
        project = open_project(conn, principal, project_id)
        member = joined(conn, store, project, principal)
        found: dict[str, Any] = {
            "task": None,
            "reason": None,
            "state": member.state,
            "guideline": project.guideline,
        }
        if member.state in ("blocked", "failed"):
            return found | {"reason": member.state}
        if unread := to_acknowledge(conn, project_id, principal.person_id):
            return found | {"reason": "acknowledge", "guideline": unread.n}
        leases.sweep(conn, store, project_id)
        leases.drop_unusable(conn, store, project_id, principal.person_id)
        mine = leases.held(conn, project_id, principal.person_id)
        for lease in mine:
            if lease.subject_id not in holding:
                return found | {"task": task_view(conn, project, principal, lease.subject_id)}
        if len(mine) >= MAX_HELD:
            return found | {"reason": "held"}
        item_id, reason = _choose(conn, store, project, principal, member, holding)
        if item_id is None:
            return found | {"reason": reason}
        return found | {"task": task_view(conn, project, principal, item_id)}


def _choose(
    conn: Connection, store: Store, project: Any, principal: Principal, member: Any, holding: Collection[str]
) -> tuple[str | None, str]:
    """The id of the item that was taken, or None and the reason why there is none."""
    person_id, settings = principal.person_id, settings_of(project)
    if member.state in ("training", "test"):
        for item in _unseen(conn, project.id, person_id, member.state):
            if item.id not in holding and _open(conn, store, project, person_id, item, member.state):
                return item.id, ""
        return None, "held" if holding else "graded" if member.state == "test" else "none_left"
    ways: list[tuple[str, Iterator[Any]]] = [("return", _begun(conn, project.id, person_id))]
    if _has_assigned(conn, project.id, person_id):
        ways.append(("push", _assigned(conn, project.id, person_id)))
    if settings.gold_pct and _is_golds_turn(conn, project, person_id, settings.gold_pct):
        ways.append(("gold", _unseen(conn, project.id, person_id, "gold")))
    if settings.pull:
        ways.append(("pull", _queue(conn, project, person_id, member)))
    for method, candidates in ways:
        for item in candidates:
            if item.id not in holding and _open(conn, store, project, person_id, item, method):
                return item.id, ""
    return None, "none_left" if settings.pull else "assigned_only"


def _open(conn: Connection, store: Store, project: Any, person_id: str, item: Any, method: str) -> bool:
    """Take a lease and set down what is shown in which order; False where no slot is free."""
    if leases.take(conn, store, project, item, person_id) is None:
        return False
    mine = (drafts.c.item_id == item.id) & (drafts.c.person_id == person_id)
    if conn.execute(select(drafts.c.item_id).where(mine)).first() is None:
        shown = [one["id"] for one in item.payload["completions"]]
        if settings_of(project).shuffle:
            random.shuffle(shown)
        row = {
            "item_id": item.id,
            "person_id": person_id,
            "workspace_id": project.workspace_id,
            "project_id": project.id,
            "shown": shown,
            "how": {"method": method, "probability": None},
            "prefilled": False,
            "suggested": False,
            "opened_at": store.now(),
        }
        conn.execute(insert(drafts).values(row))
    return True


def _fresh(project_id: str, person_id: str) -> Select[Any]:
    """Items of a project that this person has not answered, skipped or written, and whose chat may be used."""
    return select(items).where(
        items.c.project_id == project_id,
        ~exists().where(answers.c.item_id == items.c.id, answers.c.person_id == person_id),
        ~exists().where(skips.c.item_id == items.c.id, skips.c.person_id == person_id),
        ~exists().where(item_authors.c.item_id == items.c.id, item_authors.c.person_id == person_id),
        usable_chat(),
    )


def _unseen(conn: Connection, project_id: str, person_id: str, kind: str) -> Iterator[Any]:
    """Known items in their order; gold in an order of the person's own."""
    wanted = _fresh(project_id, person_id).where(items.c.kind == kind, items.c.status != "halted")
    rows = list(conn.execute(wanted.order_by(items.c.id)))
    if kind == "gold":
        rows.sort(key=lambda row: _drawn(person_id, row.id))
    yield from rows


def _begun(conn: Connection, project_id: str, person_id: str) -> Iterator[Any]:
    """Items that the person has begun to answer and whose lease has ended meanwhile."""
    mine = select(drafts.c.item_id).where(
        drafts.c.person_id == person_id, drafts.c.project_id == project_id, drafts.c.value.is_not(None)
    )
    ids = conn.execute(mine.order_by(drafts.c.opened_at).limit(200)).scalars().all()
    if not ids:
        return
    wanted = _fresh(project_id, person_id).where(items.c.id.in_(ids), items.c.kind.in_(("work", "gold")))
    wanted = wanted.where(items.c.status.in_(OPEN))
    yield from conn.execute(wanted.order_by(items.c.id)).all()


def _has_assigned(conn: Connection, project_id: str, person_id: str) -> bool:
    wanted = select(assignments.c.id).where(
        assignments.c.project_id == project_id,
        assignments.c.person_id == person_id,
        assignments.c.done_at.is_(None),
    )
    return conn.execute(wanted.limit(1)).first() is not None


def _assigned(conn: Connection, project_id: str, person_id: str) -> Iterator[Any]:
    """What a lead gave to this person, and what a review returned: only an answer that counts is in the way."""
    counts = answers.c.status.in_(("submitted", "extra"))
    wanted = select(items).where(
        items.c.project_id == project_id,
        ~exists().where(answers.c.item_id == items.c.id, answers.c.person_id == person_id, counts),
    )
    wanted = wanted.join(assignments, assignments.c.item_id == items.c.id)
    wanted = wanted.where(assignments.c.person_id == person_id, assignments.c.done_at.is_(None))
    wanted = wanted.where(items.c.status.in_(OPEN), usable_chat())
    yield from conn.execute(wanted.order_by(items.c.priority.desc(), assignments.c.id)).all()


def _queue(conn: Connection, project: Any, person_id: str, member: Any) -> Iterator[Any]:
    """Open items that suit the person: the highest priority first, begun ones before others, then the oldest.

    One priority and status at a time, so that the index gives the rows in order and few are looked at.
    """
    habits = habits_row(conn, person_id)
    mine = (items.c.project_id == project.id) & (items.c.kind == "work")
    held = select(func.count()).where(leased.c.subject_kind == "item", leased.c.subject_id == items.c.id)
    wanted = _fresh(project.id, person_id).where(
        mine, items.c.min_answers > items.c.answers + held.scalar_subquery()
    )
    if habits.langs:
        wanted = wanted.where(or_(items.c.lang.is_(None), items.c.lang.in_(habits.langs)))
    wanted = wanted.where(or_(items.c.skill.is_(None), items.c.skill.in_(member.skills)))
    away = set(habits.opt_out)
    priorities = select(items.c.priority).where(mine, items.c.status.in_(OPEN)).distinct()
    for priority in conn.execute(priorities.order_by(items.c.priority.desc())).scalars().all():
        for status in reversed(OPEN):
            these = wanted.where(items.c.priority == priority, items.c.status == status).order_by(items.c.id)
            yield from (row for row in _in_parts(conn, these) if not away & set(row.sensitive))


def _in_parts(conn: Connection, wanted: Select[Any]) -> Iterator[Any]:
    """The rows of a query that is ordered by id, some at a time."""
    last = ""
    while True:
        rows = conn.execute(wanted.where(items.c.id > last).limit(LOOK_AT)).all()
        yield from rows
        if len(rows) < LOOK_AT:
            return
        last = rows[-1].id


def _is_golds_turn(conn: Connection, project: Any, person_id: str, percent: int) -> bool:
    """One gold item in every block of 100 / percent items, at a place that differs from block to block."""
    block = round(100 / percent)
    wanted = (
        select(func.count())
        .select_from(answers)
        .join(items, items.c.id == answers.c.item_id)
        .where(
            answers.c.project_id == project.id,
            answers.c.person_id == person_id,
            answers.c.status.in_(("submitted", "extra", "discarded")),
            items.c.kind.in_(("work", "gold")),
        )
    )
    n = conn.execute(wanted).scalar_one() + len(leases.held(conn, project.id, person_id))
    return n % block == _drawn(person_id, f"{project.id}:{n // block}") % block


def _drawn(person_id: str, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{person_id}:{what}".encode()).digest()[:8])


def task_view(conn: Connection, project: Any, principal: Principal, item_id: str) -> Task:
    """An opened item as its labeller gets it: no model's name, no known value, nobody else's answer."""
    item = row_of(conn, items, item_id)
    mine = (drafts.c.item_id == item_id) & (drafts.c.person_id == principal.person_id)
    draft = conn.execute(select(drafts).where(mine)).one()
    lease = leases.lease_of(conn, item_id, principal.person_id)
    version = version_row(conn, project.id, project.version)
    texts = {one["id"]: one["content"] for one in item.payload["completions"]}
    settings = settings_of(project)
    return Task(
        item_id=item_id,
        project_id=project.id,
        task=project.task,
        training=item.kind == "training",
        messages=item.payload["messages"],
        completions=[{"id": one, "content": texts[one]} for one in draft.shown],
        shown=draft.shown,
        order=list(texts),
        brief=item.payload.get("brief"),
        draft_text=item.payload.get("draft") if version.questions.get("from_draft") else None,
        lang=item.lang,
        sensitive=item.sensitive,
        has_suggestion=bool(item.suggestion)
        and settings.suggestions != "off"
        and item.kind in ("work", "gold"),
        questions=version.questions,
        version=project.version,
        value=draft.value,
        answered=False,
        expires_at=None if lease is None else iso(lease.expires_at),
    )


def forget_opened(conn: Connection, item_id: str, person_id: str) -> None:
    """The draft of an item that is answered, skipped or given back."""
    conn.execute(delete(drafts).where(drafts.c.item_id == item_id, drafts.c.person_id == person_id))
