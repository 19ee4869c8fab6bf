"""An opened item: its draft, the answer, the skip, the way back.

An answer counts when it fills a slot. One that comes after its lease has ended counts while a slot is free and is
marked as late; when others have filled the item meanwhile, it is kept as extra. Either way the work is not lost, and
an item never has more answers than it asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from ziggurat.product import judgements as store_of_judgements
from ziggurat.product.common import clean, clean_json, row_of, truth
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import SECOND, iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import answers, assignments, drafts, items, skips
from ziggurat.workbench.labelling import events, leases, trees
from ziggurat.workbench.labelling.items import settle
from ziggurat.workbench.labelling.members import WRITING, after_answer, joined
from ziggurat.workbench.labelling.objects import Submitted
from ziggurat.workbench.labelling.queue import forget_opened, task_view
from ziggurat.workbench.labelling.rows import (
    answer_view,
    newest_guideline,
    open_project,
    require_usable,
    seen_project,
    settings_of,
    version_row,
)
from ziggurat.workbench.labelling.tree_answers import require_growing
from ziggurat.workbench.labelling.values import checked, score, unchanged

REASONS = ("unclear", "outside_knowledge", "wrong_language", "upsetting", "broken")
SAME_TEXT_S = 120 * 60
"""A text that the same person wrote within this time is refused (Open-Assistant's window)."""
MAX_DRAFT = 200_000


def submit(
    store: Store,
    principal: Principal,
    item_id: str,
    value: Mapping[str, Any],
    *,
    seconds: float | None = None,
    version: int | None = None,
) -> Submitted:
    """The answer to an item that the person opened, or a change of one that the person has submitted.

    version: of the questions on the screen; None: the newest.

    Raises:
        NotFound: the person has not opened this item.
        Conflict: the item is closed to changes, or it asks something else now.
        Invalid: the value does not fit the questions.
    """
    with store.write() as conn:
        project, item = _opened(conn, principal, item_id)
        require_usable(conn, item)
        member = joined(conn, store, project, principal)
        if member.state == "blocked":
            raise Conflict("you may not work in this project any more; ask its lead.", code="blocked")
        questions = version_row(conn, project.id, version or project.version)
        found = checked(project.task, questions.questions, item.payload, value)
        before = _submitted_by(conn, item_id, principal.person_id)
        if before is not None:
            _may_change(conn, item)
        _not_again(conn, store, principal, project.task, item_id, found)
        draft = _draft(conn, item_id, principal.person_id)
        if draft is None and before is None:
            raise NotFound("you have not opened this item; take the next one.")
        slot, late = _slot(conn, store, project, item, principal, before)
        extra = item.kind == "work" and slot is None
        shown = list((draft or before).shown)
        guideline = newest_guideline(conn, project)
        judgement_id = _judgement(
            conn, store, principal, project, item, found, shown, draft, guideline, seconds, late
        )
        new = new_id("answer")
        if before is not None:
            conn.execute(
                update(answers)
                .where(answers.c.id == before.id)
                .values(status="superseded", superseded_by=new)
            )
        row = {
            "id": new,
            "workspace_id": project.workspace_id,
            "project_id": project.id,
            "item_id": item_id,
            "person_id": principal.person_id,
            "slot": slot if item.kind == "work" else None,
            "judgement_id": judgement_id,
            "version_id": questions.id,
            "guideline_id": guideline.id if guideline else None,
            "status": "extra" if extra else "submitted",
            "shown": shown,
            "seconds": seconds,
            "late": late,
            "prefilled": bool(draft.prefilled if draft else before.prefilled),
            "suggested": bool(draft.suggested if draft else before.suggested),
            "unchanged": unchanged(project.task, found, shown),
            "score": before.score if before else score(project.task, found, item.gold),
            "returned": before.returned if before else 0,
            "created_at": store.now(),
        }
        conn.execute(insert(answers).values(row))
        _close(conn, store, item_id, principal.person_id)
        was, status = item.status, settle(conn, store, item_id)
        state: Any = after_answer(conn, store, project, principal.person_id, item.kind)
        trees.advance(conn, store, principal, item)
        ids = {
            "item_id": item_id,
            "answer_id": new,
            "person_id": principal.person_id,
            "status": row["status"],
        }
        events.emit(conn, store, project, "answer.submitted", ids)
        if status == "completed" and was != "completed":
            events.emit(conn, store, project, "item.completed", {"item_id": item_id})
        made = row_of(conn, answers, new)
        view = answer_view(made, found, questions.n, guideline.n if guideline else None)
        training = None
        if item.kind == "training":
            training = {"value": item.gold, "explanation": item.explanation, "score": row["score"]}
        return Submitted(answer=view, counts=not extra, state=state, training=training)


def _opened(conn: Connection, principal: Principal, item_id: str) -> tuple[Any, Any]:
    require(principal, "label")
    item = row_of(conn, items, item_id)
    if item is None or item.workspace_id != principal.workspace_id:
        raise NotFound("there is no such item.")
    return open_project(conn, principal, item.project_id), item


def _draft(conn: Connection, item_id: str, person_id: str) -> Any:
    mine = (drafts.c.item_id == item_id) & (drafts.c.person_id == person_id)
    return conn.execute(select(drafts).where(mine)).first()


def _submitted_by(conn: Connection, item_id: str, person_id: str) -> Any:
    mine = (answers.c.item_id == item_id) & (answers.c.person_id == person_id)
    return conn.execute(select(answers).where(mine, answers.c.status == "submitted")).first()


def _may_change(conn: Connection, item: Any) -> None:
    """Gold as work, since nobody is to see which is which; the first answer to it is the one that is scored."""
    if item.kind not in ("work", "gold"):
        raise Conflict("this answer cannot be changed any more.", code="answered")
    if item.status in ("adjudicated", "halted"):
        raise Conflict(f"the item is {item.status}; its answers stay as they are.", code="answered")
    require_growing(conn, item)


def _slot(
    conn: Connection, store: Store, project: Any, item: Any, principal: Principal, before: Any
) -> tuple[int | None, bool]:
    """The slot that the answer fills, and whether it is late."""
    if before is not None:
        return before.slot, before.late
    if item.kind != "work":
        return None, False
    lease = leases.lease_of(conn, item.id, principal.person_id)
    if lease is not None and lease.expires_at > store.now():
        return lease.slot, False
    if lease is not None:
        leases.drop(conn, store, lease)
    leases.sweep(conn, store, project.id)
    again = leases.take(conn, store, project, row_of(conn, items, item.id), principal.person_id)
    return (None if again is None else again.slot), True


def _judgement(
    conn: Connection,
    store: Store,
    principal: Principal,
    project: Any,
    item: Any,
    value: Mapping[str, Any],
    shown: Sequence[str],
    draft: Any,
    guideline: Any,
    seconds: float | None,
    late: bool,
) -> str:
    how = dict(draft.how) if draft else {"method": "change", "probability": None}
    how |= {"item": item.kind, **({"late": True} if late else {})}
    return store_of_judgements.write_about(
        conn,
        store,
        principal,
        project.task,
        ("item", item.id),
        value,
        prompt=item.payload["messages"],
        completions=item.payload["completions"],
        shown=shown,
        how=how,
        guideline=guideline.id if guideline else None,
        seconds=seconds,
        basis="work",
        data_use=item.data_use,
    )


def _not_again(
    conn: Connection, store: Store, principal: Principal, task: str, item_id: str, value: Mapping[str, Any]
) -> None:
    if task not in WRITING:
        return
    recent = select(judgements.c.value).where(
        judgements.c.person_id == principal.person_id,
        judgements.c.kind == task,
        judgements.c.subject_id != item_id,
        judgements.c.created_at > store.now() - SAME_TEXT_S * SECOND,
        judgements.c.withdrawn_at.is_(None),
    )
    ours = _text_of(value)
    if any(_text_of(one) == ours for one in conn.execute(recent).scalars()):
        raise Invalid(
            "you gave exactly this text to another item in the last two hours; write one for this item.",
            code="repeated",
            param="value",
        )


def _text_of(value: Mapping[str, Any]) -> str:
    texts = [str(m["content"]) for m in value["messages"]] if "messages" in value else [str(value["text"])]
    return " ".join(" ".join(texts).split()).casefold()


def _close(conn: Connection, store: Store, item_id: str, person_id: str) -> None:
    lease = leases.lease_of(conn, item_id, person_id)
    if lease is not None:
        leases.drop(conn, store, lease)
    forget_opened(conn, item_id, person_id)
    conn.execute(
        update(assignments)
        .where(assignments.c.item_id == item_id, assignments.c.person_id == person_id)
        .values(done_at=store.now())
    )


def save_draft(
    store: Store,
    principal: Principal,
    item_id: str,
    value: Mapping[str, Any] | None,
    *,
    prefilled: bool = False,
) -> str:
    """Keep the answer as far as it came; it is not checked yet. Returns when.

    Raises:
        NotFound: the person has not opened this item.
    """
    truth(prefilled, "prefilled")
    if value is not None and (not isinstance(value, Mapping) or len(str(value)) > MAX_DRAFT):
        raise Invalid("value must be a JSON object of at most 200,000 characters.", param="value")
    with store.write() as conn:
        _project, item = _opened(conn, principal, item_id)
        require_usable(conn, item)
        draft = _draft(conn, item_id, principal.person_id)
        if draft is None:
            raise NotFound("you have not opened this item; take the next one.")
        now = store.now()
        values = {
            "value": None if value is None else clean_json(value),
            "prefilled": draft.prefilled or prefilled,
            "saved_at": now,
        }
        mine = (drafts.c.item_id == item_id) & (drafts.c.person_id == principal.person_id)
        conn.execute(update(drafts).where(mine).values(values))
        return iso(now)


def suggestion(
    store: Store, principal: Principal, item_id: str, *, first_choice: Mapping[str, Any]
) -> dict[str, Any]:
    """What a model suggests, after the person's own first choice, which is kept. `{value, agent, score}`.

    Raises:
        NotFound: there is none, or the project does not show it.
    """
    with store.write() as conn:
        project, item = _opened(conn, principal, item_id)
        require_usable(conn, item)
        draft = _draft(conn, item_id, principal.person_id)
        if (
            draft is None
            or item.suggestion is None
            or item.kind not in ("work", "gold")
            or settings_of(project).suggestions == "off"
        ):
            raise NotFound("there is no suggestion.")
        questions = version_row(conn, project.id, project.version).questions
        first = checked(project.task, questions, item.payload, first_choice)
        mine = (drafts.c.item_id == item_id) & (drafts.c.person_id == principal.person_id)
        if not draft.suggested:
            how = draft.how | {"first_choice": first, "suggestion": item.suggestion}
            conn.execute(update(drafts).where(mine).values(suggested=True, how=how))
        return dict(item.suggestion)


def skip(
    store: Store, principal: Principal, item_id: str, *, reason: str, comment: str | None = None
) -> dict[str, Any]:
    """Do not answer an item, and say why; others get it. After so many skips (a setting) it is halted.

    Raises:
        Conflict: an item of the training or the test, which everybody answers.
    """
    if reason not in REASONS:
        raise Invalid(f"reason is {reason!r}; it must be one of {', '.join(REASONS)}.", param="reason")
    note = clean(comment, "comment", limit=8_000) if comment else None
    with store.write() as conn:
        project, item = _opened(conn, principal, item_id)
        if _draft(conn, item_id, principal.person_id) is None:
            raise NotFound("you have not opened this item; take the next one.")
        if item.kind in ("training", "test"):
            raise Conflict("everybody answers the items of the training and the test.", code="no_skip")
        row = {
            "id": new_id("skip"),
            "workspace_id": project.workspace_id,
            "project_id": project.id,
            "item_id": item_id,
            "person_id": principal.person_id,
            "reason": reason,
            "comment": note,
            "created_at": store.now(),
        }
        mine = (skips.c.item_id == item_id) & (skips.c.person_id == principal.person_id)
        again = conn.execute(delete(skips).where(mine)).rowcount  # skipped before a lead assigned it
        conn.execute(insert(skips).values(row))
        _close(conn, store, item_id, principal.person_id)
        count = item.skips + 1 - again
        values: dict[str, Any] = {"skips": count}
        halted = count >= settings_of(project).halt_skips and item.status in ("pending", "in_progress")
        if halted:
            values["status"] = "halted"
        conn.execute(update(items).where(items.c.id == item_id).values(values))
        settle(conn, store, item_id)
        return {"skips": count, "halted": halted}


def heartbeat(store: Store, principal: Principal, item_ids: Sequence[str]) -> dict[str, str | None]:
    """Extend the leases of opened items; an item whose lease has ended gets null."""
    if isinstance(item_ids, str) or len(item_ids) > 20:
        raise Invalid("items must be a list of at most 20 ids.", param="items")
    require(principal, "label")
    found: dict[str, str | None] = dict.fromkeys(item_ids)
    with store.write() as conn:
        for item_id in found:
            lease = leases.lease_of(conn, item_id, principal.person_id)
            if lease is not None and lease.expires_at > store.now():
                item = row_of(conn, items, item_id)
                project = seen_project(conn, principal, item.project_id)
                found[item_id] = iso(leases.extend(conn, store, project, lease))
    return found


def give_back(store: Store, principal: Principal, item_ids: Sequence[str]) -> int:
    """Give opened items back without an answer; drafts with something in them are kept. Returns how many."""
    require(principal, "label")
    given = 0
    with store.write() as conn:
        for item_id in list(item_ids)[:20]:
            lease = leases.lease_of(conn, item_id, principal.person_id)
            if lease is None:
                continue
            leases.drop(conn, store, lease)
            draft = _draft(conn, item_id, principal.person_id)
            if draft is not None and draft.value is None:
                forget_opened(conn, item_id, principal.person_id)
            given += 1
    return given


def discard(store: Store, principal: Principal, item_id: str) -> None:
    """Take my answer back: its judgement is withdrawn and the item goes out to others.

    Raises:
        NotFound: there is no answer of mine.
        Conflict: it cannot be changed any more.
    """
    with store.write() as conn:
        _project, item = _opened(conn, principal, item_id)
        before = _submitted_by(conn, item_id, principal.person_id)
        if before is None:
            raise NotFound("you have no answer to this item.")
        _may_change(conn, item)
        conn.execute(update(answers).where(answers.c.id == before.id).values(status="discarded"))
        conn.execute(
            update(judgements).where(judgements.c.id == before.judgement_id).values(withdrawn_at=store.now())
        )
        settle(conn, store, item_id)
        trees.advance(conn, store, principal, item)


def opened(store: Store, principal: Principal, item_id: str) -> dict[str, Any]:
    """An item that I have opened or answered, to go on with it or to change the answer."""
    with store.write() as conn:
        project, item = _opened(conn, principal, item_id)
        require_usable(conn, item)
        before = _submitted_by(conn, item_id, principal.person_id)
        if _draft(conn, item_id, principal.person_id) is None:
            if before is None:
                raise NotFound("you have not opened this item; take the next one.")
            _may_change(conn, item)
            _reopen_draft(conn, store, project, principal, before)
        return {
            "task": task_view(conn, project, principal, item_id).model_copy(
                update={"answered": before is not None}
            )
        }


def _reopen_draft(conn: Connection, store: Store, project: Any, principal: Principal, before: Any) -> None:
    value = conn.execute(select(judgements.c.value).where(judgements.c.id == before.judgement_id)).scalar()
    row = {
        "item_id": before.item_id,
        "person_id": principal.person_id,
        "workspace_id": project.workspace_id,
        "project_id": project.id,
        "shown": before.shown,
        "how": {"method": "change", "probability": None},
        "value": value,
        "prefilled": before.prefilled,
        "suggested": before.suggested,
        "saved_at": store.now(),
        "opened_at": store.now(),
    }
    conn.execute(insert(drafts).values(row))
