"""Conflicted items: all answers side by side, names hidden, one final answer with its reason.

The originals are never changed: the final answer is a judgement of its own, by the adjudicator, and the row of
`adjudication` says which answers were seen. Names are shown from the decision on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ziggurat.product import judgements as store_of_judgements
from ziggurat.product.common import clean, cursor_of, page_size, read_cursor, record
from ziggurat.product.errors import Conflict, NotFound
from ziggurat.product.objects import Page
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import (
    adjudications,
    answers,
    comments,
    guideline_versions,
    items,
    projects,
)
from ziggurat.store.tables.people import people
from ziggurat.workbench.labelling import events
from ziggurat.workbench.labelling.agreement_report import consensus_of, votes_of
from ziggurat.workbench.labelling.answered import Answered, asked
from ziggurat.workbench.labelling.rows import newest_guideline, usable_chat, version_row
from ziggurat.workbench.labelling.values import checked

MAX_REASON = 8_000
DECIDABLE = ("conflicted", "completed", "adjudicated")


def queue(
    store: Store, principal: Principal, project_id: str, *, cursor: str | None = None, limit: int = 50
) -> Page[dict[str, Any]]:
    """The conflicted items of a project, the strongest disagreement first."""
    limit = page_size(limit)
    with store.read() as conn:
        _project(conn, principal, project_id)
        apart = func.coalesce(items.c.disagreement, 0.0)
        wanted = select(
            items.c.id, items.c.lang, items.c.answers, items.c.payload, apart.label("apart")
        ).where(items.c.project_id == project_id, items.c.status == "conflicted", usable_chat())
        if cursor:
            at, last = read_cursor(cursor, (float, str))
            wanted = wanted.where((apart < at) | ((apart == at) & (items.c.id > last)))
        rows = conn.execute(wanted.order_by(apart.desc(), items.c.id).limit(limit + 1)).all()
    found = [
        {
            "item_id": row.id,
            "lang": row.lang,
            "answers": row.answers,
            "disagreement": row.apart,
            "preview": _preview(row.payload),
        }
        for row in rows[:limit]
    ]
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(data=found, next=cursor_of(float(last.apart), last.id) if last else None)


def _preview(payload: Mapping[str, Any]) -> str:
    messages = payload.get("messages") or [{"content": payload.get("brief", "")}]
    return " ".join(str(messages[-1]["content"]).split())[:200]


def case(store: Store, principal: Principal, item_id: str) -> dict[str, Any]:
    """One item with its answers side by side. Until it is decided the people are A, B, C in an order that says nothing.

    Raises:
        NotFound: there is no such item, or it has no answers yet.
        Conflict: not all its answers are there (not_complete); who decides may label too, and must not read the others.
    """
    with store.read() as conn:
        item, project = _item(conn, principal, item_id)
        rows = _answers(conn, item_id)
        if not rows:
            raise NotFound("this item has no answers yet.")
        _require_complete(item)
        decided = current(conn, item_id)
        questions = version_row(conn, project.id, project.version).questions
        return {
            "item_id": item_id,
            "project_id": project.id,
            "task": project.task,
            "questions": questions,
            "status": item.status,
            "disagreement": item.disagreement,
            "lang": item.lang,
            "messages": item.payload["messages"],
            "brief": item.payload.get("brief"),
            "completions": _completions(item, with_models=decided is not None),
            "answers": _sides(rows, item_id, named=decided is not None),
            "consensus": _consensus(project, item, rows, questions),
            "comments": _comments(conn, item_id, named=decided is not None),
            "decision": None if decided is None else _decision(conn, decided),
            "mine": any(row.person_id == principal.person_id for row in rows),
        }


def _require_complete(item: Any) -> None:
    if item.status not in DECIDABLE:
        raise Conflict(
            f"the item is {item.status}; it is decided when all its answers are there.", code="not_complete"
        )


def _completions(item: Any, *, with_models: bool) -> list[dict[str, Any]]:
    names = ("id", "content", "model") if with_models else ("id", "content")
    return [{name: one[name] for name in names if name in one} for one in item.payload.get("completions", ())]


def _answers(conn: Connection, item_id: str) -> list[Any]:
    wanted = (
        select(
            answers,
            judgements.c.value,
            people.c.name.label("name"),
            guideline_versions.c.n.label("guideline"),
        )
        .join(judgements, judgements.c.id == answers.c.judgement_id)
        .join(people, people.c.id == answers.c.person_id)
        .outerjoin(guideline_versions, guideline_versions.c.id == answers.c.guideline_id)
        .where(answers.c.item_id == item_id, answers.c.status == "submitted")
    )
    return list(conn.execute(wanted))


def _sides(rows: list[Any], item_id: str, *, named: bool) -> list[dict[str, Any]]:
    """In the order of a hash, so that neither time nor name shows who it was."""
    rows = sorted(rows, key=lambda row: hashlib.sha256(f"{item_id}{row.id}".encode()).digest())
    return [
        {
            "answer_id": row.id,
            "side": chr(ord("A") + n) if n < 26 else str(n + 1),
            "value": row.value,
            "guideline": row.guideline,
            **(
                {"person": {"id": row.person_id, "name": row.name}, "at": iso(row.created_at)}
                if named
                else {}
            ),
        }
        for n, row in enumerate(rows)
    ]


def _consensus(project: Any, item: Any, rows: list[Any], questions: Mapping[str, Any]) -> dict[str, Any]:
    order = tuple(str(one["id"]) for one in item.payload.get("completions", ()))
    found = [
        Answered(item.id, row.person_id, row.value, item.lang, None, item.kind, None, None, order)
        for row in rows
    ]
    scales = dict(asked(questions["labels"])) if project.task == "labels" else {}
    return {
        "value": consensus_of(project.task, found, scales),
        "votes": votes_of(project.task, found, scales),
        "voters": len(found),
    }


def _comments(conn: Connection, item_id: str, *, named: bool) -> list[dict[str, Any]]:
    wanted = (
        select(comments.c.id, comments.c.text, comments.c.created_at, people.c.name)
        .join(people, people.c.id == comments.c.person_id)
        .where(comments.c.item_id == item_id)
        .order_by(comments.c.created_at, comments.c.id)
    )
    return [
        {"id": row.id, "text": row.text, "at": iso(row.created_at), **({"name": row.name} if named else {})}
        for row in conn.execute(wanted)
    ]


def current(conn: Connection, item_id: str) -> Any:
    """The decision that holds, or None."""
    wanted = select(adjudications).where(
        adjudications.c.item_id == item_id, adjudications.c.superseded_by.is_(None)
    )
    return conn.execute(wanted).first()


def _decision(conn: Connection, row: Any) -> dict[str, Any]:
    name = conn.execute(select(people.c.name).where(people.c.id == row.person_id)).scalar()
    return {
        "id": row.id,
        "final": row.final,
        "reason": row.reason,
        "person": {"id": row.person_id, "name": name},
        "answer_ids": row.answer_ids,
        "judgement_id": row.judgement_id,
        "at": iso(row.created_at),
    }


def adjudicate(
    store: Store,
    principal: Principal,
    item_id: str,
    *,
    final: Mapping[str, Any],
    reason: str,
    seconds: float | None = None,
) -> dict[str, Any]:
    """Decide: the final answer and why. A second decision takes the place of the first, which is kept.

    Raises:
        Conflict: the person answered this item (code own_answer), or it is not complete yet (not_complete).
        Invalid: the answer does not fit the questions, or there is no reason.
    """
    reason = clean(reason, "reason", limit=MAX_REASON)
    with store.write() as conn:
        item, project = _item(conn, principal, item_id)
        rows = _answers(conn, item_id)
        if any(row.person_id == principal.person_id for row in rows):
            raise Conflict("you answered this item yourself; somebody else must decide.", code="own_answer")
        if not rows:
            raise Conflict("this item has no answers yet.", code="not_complete")
        _require_complete(item)
        questions = version_row(conn, project.id, project.version).questions
        value = checked(project.task, questions, item.payload, final)
        guideline = newest_guideline(conn, project)
        judgement_id = store_of_judgements.write_about(
            conn,
            store,
            principal,
            project.task,
            ("item", item_id),
            value,
            prompt=item.payload["messages"],
            completions=item.payload["completions"],
            how={"method": "adjudication", "probability": None, "item": item.kind},
            guideline=guideline.id if guideline else None,
            seconds=seconds,
            basis="work",
            data_use=item.data_use,
        )
        new = new_id("adjudication")
        before = current(conn, item_id)
        if before is not None:
            conn.execute(
                update(adjudications).where(adjudications.c.id == before.id).values(superseded_by=new)
            )
        row = {
            "id": new,
            "workspace_id": item.workspace_id,
            "project_id": project.id,
            "item_id": item_id,
            "person_id": principal.person_id,
            "final": value,
            "reason": reason,
            "answer_ids": sorted(one.id for one in rows),
            "judgement_id": judgement_id,
            "created_at": store.now(),
        }
        conn.execute(insert(adjudications).values(row))
        now = store.now()
        done = {"status": "adjudicated", "completed_at": item.completed_at or now, "updated_at": now}
        conn.execute(update(items).where(items.c.id == item_id).values(done))
        if item.status == "conflicted":
            events.emit(conn, store, project, "item.completed", {"item_id": item_id})
        detail = {"answers": len(rows), "again": before is not None}
        record(conn, store, principal, "item.adjudicate", kind="label_item", object_id=item_id, detail=detail)
    return case(store, principal, item_id)


def _project(conn: Connection, principal: Principal, project_id: str) -> Any:
    row = conn.execute(select(projects).where(projects.c.id == project_id)).first()
    return require_on(principal, "adjudicate", "project", row)


def _item(conn: Connection, principal: Principal, item_id: str) -> tuple[Any, Any]:
    row = conn.execute(select(items).where(items.c.id == item_id)).first()
    item = require_on(principal, "adjudicate", "item", row)
    if item.kind != "work":
        raise NotFound("there is no such item.")
    return item, conn.execute(select(projects).where(projects.c.id == item.project_id)).one()
