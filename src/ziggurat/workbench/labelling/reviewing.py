"""The stream of answers that a reviewer reads: accept, fix and accept, reject with a reason, return to the author.

accept    the answer stays as it is
fix       the reviewer's corrected answer counts; the author's stays as it was, marked as superseded
reject    the answer does not count any more and its judgement is withdrawn; the item asks for another one,
          and with `back` its author gets it again, with the reason
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, exists, insert, select, update

from ziggurat.product import judgements as store_of_judgements
from ziggurat.product.common import clean, cursor_of, page_size, read_cursor, record, row_of, truth
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.objects import Page
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require_on
from ziggurat.store.clock import iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import (
    answer_reviews,
    answers,
    assignments,
    comments,
    items,
    mentions,
    project_versions,
    projects,
)
from ziggurat.store.tables.people import people
from ziggurat.workbench.labelling import trees
from ziggurat.workbench.labelling.items import settle
from ziggurat.workbench.labelling.rows import usable_chat
from ziggurat.workbench.labelling.tree_answers import require_growing
from ziggurat.workbench.labelling.values import checked

VERDICTS = ("accept", "fix", "reject")
REVIEWED = ("completed", "halted")
"""States of the items whose answers are in the stream."""
MAX_REASON = 8_000


def stream(
    store: Store,
    principal: Principal,
    project_id: str,
    *,
    person_id: str | None = None,
    order: str = "new",
    cursor: str | None = None,
    limit: int = 20,
) -> Page[dict[str, Any]]:
    """Answers that nobody has reviewed yet, never one's own. order: `new` (the newest first) or `apart` (of the items
    with the strongest disagreement first; without a cursor).

    Only of items that wait for no more answers, since a reviewer may label too; and not of conflicted ones, whose
    people are hidden until somebody decides."""
    limit = page_size(limit)
    if order not in ("new", "apart"):
        raise Invalid(f"order is {order!r}; it must be new or apart.", param="order")
    with store.read() as conn:
        project = _project(conn, principal, project_id)
        wanted = _wanted(project_id).where(
            answers.c.status == "submitted",
            items.c.kind == "work",
            items.c.status.in_(REVIEWED),
            usable_chat(),
            answers.c.person_id != principal.person_id,
            ~exists().where(answer_reviews.c.answer_id == answers.c.id),
        )
        if person_id:
            wanted = wanted.where(answers.c.person_id == person_id)
        if order == "apart":
            wanted = wanted.order_by(
                items.c.disagreement.is_(None), items.c.disagreement.desc(), answers.c.id
            )
        else:
            if cursor:
                wanted = wanted.where(answers.c.id < read_cursor(cursor, (str,))[0])
            wanted = wanted.order_by(answers.c.id.desc())
        rows = conn.execute(wanted.limit(limit + 1)).all()
        found = [_view(row, project) for row in rows[:limit]]
    more = order == "new" and len(rows) > limit
    return Page(data=found, next=cursor_of(rows[limit - 1].id) if more else None)


def _wanted(project_id: str) -> Any:
    return (
        select(
            answers,
            judgements.c.value,
            items.c.payload,
            items.c.lang,
            items.c.disagreement,
            items.c.status.label("item_status"),
            people.c.name,
            project_versions.c.questions,
            project_versions.c.n,
        )
        .join(judgements, judgements.c.id == answers.c.judgement_id)
        .join(items, items.c.id == answers.c.item_id)
        .join(people, people.c.id == answers.c.person_id)
        .join(project_versions, project_versions.c.id == answers.c.version_id)
        .where(answers.c.project_id == project_id)
    )


def _view(row: Any, project: Any) -> dict[str, Any]:
    return {
        "answer_id": row.id,
        "item_id": row.item_id,
        "task": project.task,
        "questions": row.questions,
        "messages": row.payload["messages"],
        "brief": row.payload.get("brief"),
        "completions": [{"id": c["id"], "content": c["content"]} for c in row.payload.get("completions", ())],
        "person": {"id": row.person_id, "name": row.name},
        "value": row.value,
        "lang": row.lang,
        "item_status": row.item_status,
        "disagreement": row.disagreement,
        "seconds": row.seconds,
        "unchanged": row.unchanged,
        "prefilled": row.prefilled,
        "returned": row.returned,
        "at": iso(row.created_at),
    }


def review(
    store: Store,
    principal: Principal,
    answer_id: str,
    *,
    verdict: str,
    reason: str = "",
    value: Mapping[str, Any] | None = None,
    back: bool = False,
) -> dict[str, Any]:
    """A verdict on an answer. `value`: the corrected answer of a fix; `back`: a rejected item goes to its author again.

    Raises:
        Invalid: a reject without a reason, a fix without a value, or a value that does not fit.
        Conflict: the answer is one's own, or it does not count any more, or one has reviewed it.
    """
    if verdict not in VERDICTS:
        raise Invalid(f"verdict is {verdict!r}; it must be one of {', '.join(VERDICTS)}.", param="verdict")
    truth(back, "back")
    reason = clean(reason, "reason", limit=MAX_REASON, empty=verdict != "reject")
    if (verdict == "fix") != (value is not None):
        raise Invalid("value is the corrected answer of a fix; it belongs to nothing else.", param="value")
    with store.write() as conn:
        answer = row_of(conn, answers, answer_id)
        if answer is None:
            raise NotFound("there is no such answer.")
        project = _project(conn, principal, answer.project_id)
        _may(conn, principal, answer)
        item = row_of(conn, items, answer.item_id)
        judgement_id = None
        if verdict == "fix":
            require_growing(conn, item)
            judgement_id = _fix(conn, store, principal, project, item, answer, value or {})
        row = {
            "id": new_id("areview"),
            "workspace_id": answer.workspace_id,
            "project_id": project.id,
            "answer_id": answer_id,
            "person_id": principal.person_id,
            "verdict": verdict,
            "reason": reason,
            "judgement_id": judgement_id,
            "returned": verdict == "reject" and back,
            "created_at": store.now(),
        }
        conn.execute(insert(answer_reviews).values(row))
        if verdict == "reject":
            _reject(conn, store, principal, project, item, answer, reason, back=back)
        settle(conn, store, item.id)
        trees.advance(conn, store, principal, item)
        status = row_of(conn, items, item.id).status
        detail = {"verdict": verdict, "back": back, "item_id": item.id}
        record(
            conn, store, principal, "answer.review", kind="label_answer", object_id=answer_id, detail=detail
        )
        return {"answer_id": answer_id, "verdict": verdict, "item_id": item.id, "item_status": status}


def _may(conn: Connection, principal: Principal, answer: Any) -> None:
    if answer.person_id == principal.person_id:
        raise Conflict("this is your own answer; somebody else must review it.", code="own_answer")
    if answer.status != "submitted":
        raise Conflict(f"this answer is {answer.status}; it does not count any more.", code="answered")
    if row_of(conn, items, answer.item_id).status == "adjudicated":
        raise Conflict("the item is adjudicated; its answers stay as they are.", code="answered")
    mine = (answer_reviews.c.answer_id == answer.id) & (answer_reviews.c.person_id == principal.person_id)
    if conn.execute(select(answer_reviews.c.id).where(mine)).first():
        raise Conflict("you have reviewed this answer.", code="reviewed")


def _fix(
    conn: Connection,
    store: Store,
    principal: Principal,
    project: Any,
    item: Any,
    answer: Any,
    value: Mapping[str, Any],
) -> str:
    """The corrected answer fills the slot of the author's, whose judgement is kept as superseded by it."""
    theirs = (answers.c.item_id == item.id) & (answers.c.person_id == principal.person_id)
    if conn.execute(select(answers.c.id).where(theirs, answers.c.status == "submitted")).first():
        raise Conflict("you answered this item yourself; somebody else must correct it.", code="own_answer")
    questions = conn.execute(
        select(project_versions.c.questions).where(project_versions.c.id == answer.version_id)
    ).scalar_one()
    found = checked(project.task, questions, item.payload, value)
    judgement_id = store_of_judgements.write_about(
        conn,
        store,
        principal,
        project.task,
        ("item", item.id),
        found,
        prompt=item.payload["messages"],
        completions=item.payload["completions"],
        shown=answer.shown,
        how={"method": "review", "probability": None, "item": item.kind, "fixes": answer.judgement_id},
        guideline=answer.guideline_id,
        basis="work",
        data_use=item.data_use,
    )
    new, now = new_id("answer"), store.now()
    conn.execute(
        update(answers).where(answers.c.id == answer.id).values(status="superseded", superseded_by=new)
    )
    conn.execute(
        update(judgements).where(judgements.c.id == answer.judgement_id).values(superseded_by=judgement_id)
    )
    kept = ("workspace_id", "project_id", "item_id", "slot", "version_id", "guideline_id", "shown")
    row = {name: getattr(answer, name) for name in kept} | {
        "id": new,
        "person_id": principal.person_id,
        "judgement_id": judgement_id,
        "status": "submitted",
        "late": False,
        "prefilled": True,
        "suggested": False,
        "unchanged": False,
        "returned": 0,
        "created_at": now,
    }
    conn.execute(insert(answers).values(row))
    review_of_it = {
        "id": new_id("areview"),
        "workspace_id": answer.workspace_id,
        "project_id": project.id,
        "answer_id": new,
        "person_id": principal.person_id,
        "verdict": "accept",
        "reason": "",
        "judgement_id": judgement_id,
        "returned": False,
        "created_at": now,
    }
    conn.execute(insert(answer_reviews).values(review_of_it))
    return judgement_id


def _reject(
    conn: Connection,
    store: Store,
    principal: Principal,
    project: Any,
    item: Any,
    answer: Any,
    reason: str,
    *,
    back: bool,
) -> None:
    conn.execute(
        update(answers)
        .where(answers.c.id == answer.id)
        .values(status="discarded", returned=answer.returned + int(back))
    )
    conn.execute(
        update(judgements).where(judgements.c.id == answer.judgement_id).values(withdrawn_at=store.now())
    )
    if item.status == "conflicted":
        open_again = {"status": "in_progress", "disagreement": None}
        conn.execute(update(items).where(items.c.id == item.id).values(open_again))
    if back:
        _give_back(conn, store, principal, project, item, answer.person_id, reason)


def _give_back(
    conn: Connection, store: Store, principal: Principal, project: Any, item: Any, person_id: str, reason: str
) -> None:
    """An assignment, and the reason as a comment that mentions the author."""
    now = store.now()
    mine = (assignments.c.item_id == item.id) & (assignments.c.person_id == person_id)
    conn.execute(delete(assignments).where(mine))
    given = {
        "id": new_id("assignment"),
        "workspace_id": item.workspace_id,
        "project_id": project.id,
        "item_id": item.id,
        "person_id": person_id,
        "assigned_by": principal.person_id,
        "created_at": now,
    }
    conn.execute(insert(assignments).values(given))
    said = {
        "id": new_id("comment"),
        "workspace_id": item.workspace_id,
        "project_id": project.id,
        "item_id": item.id,
        "person_id": principal.person_id,
        "text": reason,
        "question": False,
        "created_at": now,
    }
    conn.execute(insert(comments).values(said))
    conn.execute(insert(mentions).values(comment_id=said["id"], person_id=person_id))


def figures(store: Store, principal: Principal, project_id: str) -> list[dict[str, Any]]:
    """For each author how many answers were accepted, fixed, rejected and returned."""
    with store.read() as conn:
        _project(conn, principal, project_id)
        wanted = (
            select(answers.c.person_id, people.c.name, answer_reviews.c.verdict, answer_reviews.c.returned)
            .join(answers, answers.c.id == answer_reviews.c.answer_id)
            .join(people, people.c.id == answers.c.person_id)
            .where(
                answer_reviews.c.project_id == project_id, answer_reviews.c.person_id != answers.c.person_id
            )
        )
        made: dict[str, dict[str, Any]] = {}
        for row in conn.execute(wanted):
            none = {"accept": 0, "fix": 0, "reject": 0, "returned": 0}
            one = made.setdefault(row.person_id, {"person": {"id": row.person_id, "name": row.name}, **none})
            one[row.verdict] += 1
            one["returned"] += int(row.returned)
    return sorted(made.values(), key=lambda one: one["person"]["name"])


def _project(conn: Connection, principal: Principal, project_id: str) -> Any:
    row = conn.execute(select(projects).where(projects.c.id == project_id)).first()
    return require_on(principal, "adjudicate", "project", row)
