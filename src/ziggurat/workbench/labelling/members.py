"""People of a project: joining, onboarding with a test, trust, flags, and the purge of a person's work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from sqlalchemy import Connection, exists, func, insert, select, update

from ziggurat.product.common import clean_name, known, record, row_of, whole
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.labelling import (
    answers,
    flags,
    item_authors,
    items,
    members,
)
from ziggurat.store.tables.people import memberships
from ziggurat.workbench.labelling import leases, trees
from ziggurat.workbench.labelling.items import settle
from ziggurat.workbench.labelling.rows import member_row, project_row, seen_project, settings_of

FLAGS = ("careless", "spam", "offensive", "machine_written", "other")
PRIOR_TRUST, PRIOR_WEIGHT, FLAG_COSTS = 0.75, 2, 0.1
ENOUGH_GOLD = 5
WRITING = ("demonstration", "prompt", "rewrite")


def joined(conn: Connection, store: Store, project: Any, principal: Principal) -> Any:
    """The member's row; whoever may see the project joins by working in it."""
    found = member_row(conn, project.id, principal.person_id)
    if found is None:
        _insert(conn, store, project, principal.person_id, _first_state(conn, project))
        found = member_row(conn, project.id, principal.person_id)
    return found


def _first_state(conn: Connection, project: Any) -> str:
    if settings_of(project).onboarding:
        for state in ("training", "test"):
            if _has(conn, project.id, state):
                return state
    return "qualified"


def _has(conn: Connection, project_id: str, kind: str) -> bool:
    wanted = select(items.c.id).where(
        items.c.project_id == project_id, items.c.kind == kind, items.c.status != "halted"
    )
    return conn.execute(wanted.limit(1)).first() is not None


def _insert(conn: Connection, store: Store, project: Any, person_id: str, state: str) -> None:
    now = store.now()
    row = {
        "project_id": project.id,
        "person_id": person_id,
        "workspace_id": project.workspace_id,
        "state": state,
        "skills": [],
        "attempts": 0,
        "qualified_at": now if state == "qualified" else None,
        "updated_at": now,
        "created_at": now,
    }
    conn.execute(insert(members).values(row))


def add_member(
    store: Store, principal: Principal, project_id: str, person_id: str, *, skills: Sequence[str] = ()
) -> None:
    """Let a person of the workspace into the project (a lead).

    Raises:
        NotFound: there is no such person.
    """
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        let_in(conn, store, principal, project, person_id)
        if skills:
            _set(conn, store, project_id, person_id, {"skills": names_of(skills)})
        record_of(conn, store, principal, "member.add", project_id, person_id)


def change_member(
    store: Store, principal: Principal, project_id: str, person_id: str, changes: Mapping[str, Any]
) -> None:
    """Skills, or the state: a lead can qualify somebody below the cut-off (it is soft), send somebody to the test
    again, or block somebody.

    Raises:
        Invalid: an unknown field or state.
        NotFound: the person is not in the project.
    """
    given = known(changes, ("skills", "state"))
    values: dict[str, Any] = {}
    if "skills" in given:
        values["skills"] = names_of(given["skills"])
    if "state" in given:
        if given["state"] not in ("training", "test", "qualified", "failed", "blocked"):
            raise Invalid(f"there is no state {given['state']!r}.", param="state")
        values["state"] = given["state"]
        if given["state"] == "qualified":
            values["qualified_at"] = store.now()
    with store.write() as conn:
        project_row(conn, principal, project_id, "project.write")
        if member_row(conn, project_id, person_id) is None:
            raise NotFound("this person is not in the project.")
        _set(conn, store, project_id, person_id, values)
        if values.get("state") == "blocked":
            leases.drop_all(conn, store, person_id, [project_id])
        record_of(conn, store, principal, "member.change", project_id, person_id, fields=sorted(given))


def names_of(skills: Any) -> list[str]:
    """A list of short names, such as skills."""
    if isinstance(skills, str) or not isinstance(skills, Sequence) or len(skills) > 50:
        raise Invalid("skills must be a list of at most 50 names.", param="skills")
    return [clean_name(skill, "skills")[:64] for skill in skills]


def _set(conn: Connection, store: Store, project_id: str, person_id: str, values: dict[str, Any]) -> None:
    conn.execute(
        update(members)
        .where(members.c.project_id == project_id, members.c.person_id == person_id)
        .values(values | {"updated_at": store.now()})
    )


def let_in(conn: Connection, store: Store, principal: Principal, project: Any, person_id: str) -> None:
    """Make a person of the workspace a member who is none yet. NotFound if there is no such person."""
    _require_person(conn, principal, person_id)
    if member_row(conn, project.id, person_id) is None:
        _insert(conn, store, project, person_id, _first_state(conn, project))


def _require_person(conn: Connection, principal: Principal, person_id: str) -> None:
    here = select(memberships.c.person_id).where(
        memberships.c.workspace_id == principal.workspace_id, memberships.c.person_id == person_id
    )
    if conn.execute(here).first() is None:
        raise NotFound("there is no such person.")


def record_of(
    conn: Connection,
    store: Store,
    principal: Principal,
    act: str,
    project_id: str,
    person_id: str,
    **more: Any,
) -> None:
    """An entry of the audit log about a project and, where `person_id` is not empty, one of its people."""
    detail = {"person_id": person_id, **more}
    record(conn, store, principal, act, kind="label_project", object_id=project_id, detail=detail)


# --- onboarding -------------------------------------------------------------------------------------------------------


def after_answer(conn: Connection, store: Store, project: Any, person_id: str, kind: str) -> str:
    """The member's state after an answer: from training to the test, and from the test to its result."""
    member = member_row(conn, project.id, person_id)
    state = str(member.state)
    if kind == "gold":
        state = _after_gold(conn, store, project, member)
    if state == "training" and kind == "training" and not _left(conn, project.id, person_id, "training"):
        state = "test" if _has(conn, project.id, "test") else "qualified"
        at = store.now() if state == "qualified" else None
        _set(conn, store, project.id, person_id, {"state": state, "qualified_at": at})
    elif state == "test" and kind == "test" and not _left(conn, project.id, person_id, "test"):
        state = graded(conn, store, project, person_id)
    return state


def _left(conn: Connection, project_id: str, person_id: str, kind: str) -> bool:
    wanted = select(items.c.id).where(
        items.c.project_id == project_id,
        items.c.kind == kind,
        items.c.status != "halted",
        ~exists().where(answers.c.item_id == items.c.id, answers.c.person_id == person_id),
    )
    return conn.execute(wanted.limit(1)).first() is not None


def graded(conn: Connection, store: Store, project: Any, person_id: str) -> str:
    """The result of a finished test, by the soft cut-offs; texts wait until a lead has given each a mark."""
    wanted = (
        select(answers.c.score)
        .join(items, items.c.id == answers.c.item_id)
        .where(
            answers.c.project_id == project.id,
            answers.c.person_id == person_id,
            answers.c.status == "submitted",
            items.c.kind == "test",
        )
    )
    found = list(conn.execute(wanted).scalars())
    if not found or any(one is None for one in found):
        return "test"
    settings, writes = settings_of(project), project.task in WRITING
    reached = mean(found) * (7 if writes else 1)
    cutoff = settings.cutoff_writing if writes else settings.cutoff_agreement
    state = "qualified" if reached >= cutoff else "failed"
    member = member_row(conn, project.id, person_id)
    scores = {"mean": round(reached, 4), "cutoff": cutoff, "n": len(found)}
    values = {
        "state": state,
        "scores": scores,
        "attempts": member.attempts + 1,
        "qualified_at": store.now() if state == "qualified" else None,
    }
    _set(conn, store, project.id, person_id, values)
    return state


def grade(store: Store, principal: Principal, answer_id: str, *, mark: int) -> str:
    """A lead's mark, 1 to 7, for a written test answer; returns the member's state.

    Raises:
        Conflict: this is no written answer to a test item.
    """
    whole(mark, "mark", 1, 7)
    require(principal, "project.write")
    with store.write() as conn:
        answer = row_of(conn, answers, answer_id)
        if answer is None or answer.workspace_id != principal.workspace_id:
            raise NotFound("there is no such answer.")
        project = project_row(conn, principal, answer.project_id, "project.write")
        if row_of(conn, items, answer.item_id).kind != "test" or project.task not in WRITING:
            raise Conflict("only a written answer to a test item gets a mark.", code="not_a_test")
        conn.execute(update(answers).where(answers.c.id == answer_id).values(score=mark / 7))
        record_of(conn, store, principal, "answer.grade", project.id, answer.person_id, mark=mark)
        member = member_row(conn, project.id, answer.person_id)
        if member.state in ("test", "failed") and not _left(conn, project.id, answer.person_id, "test"):
            return graded(conn, store, project, answer.person_id)
        return str(member.state)


# --- trust ------------------------------------------------------------------------------------------------------------


def gold_scores(conn: Connection, project_id: str, person_id: str) -> list[float]:
    """Of the first answer to each gold item; taking it back does not undo it."""
    wanted = (
        select(answers.c.score)
        .join(items, items.c.id == answers.c.item_id)
        .where(
            answers.c.project_id == project_id,
            answers.c.person_id == person_id,
            answers.c.status.in_(("submitted", "discarded")),
            items.c.kind == "gold",
            answers.c.score.is_not(None),
        )
    )
    return [float(score) for score in conn.execute(wanted).scalars()]


def set_trust(conn: Connection, store: Store, project_id: str, person_id: str) -> float | None:
    """(sum of gold scores + 2 x 0.75) / (gold answers + 2), less 0.1 for each flag; None where nothing is known."""
    scores = gold_scores(conn, project_id, person_id)
    doubts = conn.execute(
        select(func.count())
        .select_from(flags)
        .where(flags.c.project_id == project_id, flags.c.person_id == person_id)
    ).scalar_one()
    trust = None
    if scores or doubts:
        trust = (sum(scores) + PRIOR_WEIGHT * PRIOR_TRUST) / (len(scores) + PRIOR_WEIGHT)
        trust = round(max(0.0, trust - FLAG_COSTS * doubts), 4)
    _set(conn, store, project_id, person_id, {"trust": trust})
    return trust


def _after_gold(conn: Connection, store: Store, project: Any, member: Any) -> str:
    trust = set_trust(conn, store, project.id, member.person_id)
    floor = settings_of(project).stop_below
    enough = len(gold_scores(conn, project.id, member.person_id)) >= ENOUGH_GOLD
    if floor is not None and trust is not None and enough and trust < floor:
        _set(conn, store, project.id, member.person_id, {"state": "blocked"})
        leases.drop_all(conn, store, member.person_id, [project.id])
        detail = {"person_id": member.person_id, "trust": trust}
        record(
            conn,
            store,
            None,
            "member.block",
            kind="label_project",
            object_id=project.id,
            detail=detail,
            workspace_id=project.workspace_id,
        )
        return "blocked"
    return str(member.state)


def flag(
    store: Store,
    principal: Principal,
    project_id: str,
    person_id: str,
    *,
    reason: str,
    answer_id: str | None = None,
) -> float | None:
    """A lead's doubt about a person's work; returns the trust that is left."""
    if reason not in FLAGS:
        raise Invalid(f"reason is {reason!r}; it must be one of {', '.join(FLAGS)}.", param="reason")
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        if member_row(conn, project_id, person_id) is None:
            raise NotFound("this person is not in the project.")
        if answer_id is not None:
            answer = row_of(conn, answers, answer_id)
            if answer is None or (answer.project_id, answer.person_id) != (project_id, person_id):
                raise NotFound("there is no such answer of this person.")
        row = {
            "id": new_id("flag"),
            "workspace_id": project.workspace_id,
            "project_id": project_id,
            "person_id": person_id,
            "answer_id": answer_id,
            "flagged_by": principal.person_id,
            "reason": reason,
            "created_at": store.now(),
        }
        conn.execute(insert(flags).values(row))
        record_of(conn, store, principal, "member.flag", project_id, person_id, reason=reason)
        return set_trust(conn, store, project_id, person_id)


def purge(store: Store, principal: Principal, project_id: str, person_id: str) -> dict[str, int]:
    """Discard everything that a person did in a project and give the affected items out again; the person is blocked.

    Answers and judgements stay as records, withdrawn. Items that the person wrote are halted.
    """
    with store.write() as conn:
        project = project_row(conn, principal, project_id, "project.write")
        if member_row(conn, project_id, person_id) is None:
            raise NotFound("this person is not in the project.")
        leases.drop_all(conn, store, person_id, [project_id])
        theirs = (answers.c.project_id == project_id) & (answers.c.person_id == person_id)
        counted = theirs & answers.c.status.in_(("submitted", "extra"))
        rows = conn.execute(select(answers.c.item_id, answers.c.judgement_id).where(counted)).all()
        for row in rows:
            conn.execute(
                update(judgements)
                .where(judgements.c.id == row.judgement_id, judgements.c.withdrawn_at.is_(None))
                .values(withdrawn_at=store.now())
            )
        conn.execute(update(answers).where(counted).values(status="discarded"))
        reopened = {row.item_id for row in rows}
        for item_id in reopened:
            _reopen(conn, store, item_id)
            trees.advance(conn, store, principal, row_of(conn, items, item_id))
        written = select(item_authors.c.item_id).where(item_authors.c.person_id == person_id)
        halted = conn.execute(
            update(items)
            .where(items.c.project_id == project_id, items.c.id.in_(written))
            .values(status="halted", updated_at=store.now())
        ).rowcount
        _set(conn, store, project.id, person_id, {"state": "blocked"})
        found = {"answers": len(rows), "reopened": len(reopened), "halted": int(halted)}
        record_of(conn, store, principal, "member.purge", project_id, person_id, **found)
        return found


def _reopen(conn: Connection, store: Store, item_id: str) -> None:
    conn.execute(
        update(items)
        .where(items.c.id == item_id, items.c.status == "conflicted")
        .values(status="in_progress", disagreement=None)
    )
    settle(conn, store, item_id)


def leave(store: Store, principal: Principal, project_id: str) -> None:
    """Give everything back that the person holds in a project."""
    with store.write() as conn:
        seen_project(conn, principal, project_id)
        leases.drop_all(conn, store, principal.person_id, [project_id])
