"""Double review: on a sample a second expert decides blind, without the first decision, and delivers nothing by it.

Agreement is the share of equal decisions, with Wilson's interval. Two decisions are equal where both let the draft pass
as it is, both change it, or both refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select, update

from ziggurat.product.common import clean, row_of
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.judgements import write_about
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import decisions, items, policies, seconds, versions
from ziggurat.workbench.review.policies import DEFAULT, Policy, reason_codes, view
from ziggurat.workbench.review.sending import note_of

VERDICTS = ("approve", "edit", "reject")
CLASS = {"approve": "pass", "edit": "change", "answer": "refuse", "reject": "refuse", "decline": "refuse"}
"""What a decision says about the draft."""


def next_second(store: Store, principal: Principal) -> dict[str, Any] | None:
    """The oldest open one whose item this person has not decided: the conversation and the draft, nothing else."""
    require(principal, "review")
    decided = select(decisions.c.item_id).where(decisions.c.person_id == principal.person_id)
    found = (
        select(seconds.c.id, items, versions.c.id.label("version_id"), versions.c.text.label("draft"))
        .join(items, items.c.id == seconds.c.item_id)
        .join(versions, (versions.c.item_id == items.c.id) & (versions.c.n == 1))
        .where(
            seconds.c.workspace_id == principal.workspace_id,
            seconds.c.decided_at.is_(None),
            items.c.id.not_in(decided),
        )
        .order_by(seconds.c.id)
        .limit(1)
    )
    with store.read() as conn:
        row = conn.execute(found).first()
        if row is None:
            return None
        rules = _rules(conn, row.policy_id)
        return {
            "id": row.id,
            "topic": row.topic,
            "lang": row.lang,
            "prompt": row.prompt,
            "draft": row.draft,
            "reasons": sorted(reason_codes(rules)),
            "guideline": None if rules.texts.guideline is None else rules.texts.guideline.model_dump(),
        }


def decide_second(
    store: Store,
    principal: Principal,
    second_id: str,
    *,
    decision: str,
    reasons: Sequence[str] = (),
    text: str | None = None,
) -> None:
    """
    Raises:
        Conflict: it was decided, or by this person the first time.
        Invalid: the decision or a reason is not allowed; an edit without a text.
    """
    require(principal, "review")
    if decision not in VERDICTS:
        raise Invalid(f"decision is {decision!r}; it must be one of {', '.join(VERDICTS)}.", param="decision")
    with store.write() as conn:
        row = row_of(conn, seconds, second_id)
        if row is None or row.workspace_id != principal.workspace_id:
            raise NotFound("there is no such second review.")
        if row.decided_at is not None:
            raise Conflict("somebody has decided on this already.", code="decided")
        item = row_of(conn, items, row.item_id)
        first = select(decisions.c.id).where(
            decisions.c.item_id == item.id, decisions.c.person_id == principal.person_id
        )
        if conn.execute(first).first():
            raise Conflict("you decided on this item the first time.", code="four_eyes")
        _check_reasons(conn, item, decision, reasons)
        draft = conn.execute(select(versions).where(versions.c.item_id == item.id, versions.c.n == 1)).one()
        final = clean(text, "text") if decision == "edit" else None
        value = {"decision": decision, "reasons": list(reasons), "item": item.id, "blind": True}
        judgement_id = write_about(
            conn,
            store,
            principal,
            "decision",
            ("review", draft.id),
            value | ({"text": final or draft.text} if decision != "reject" else {}),
            prompt=item.prompt,
            completions=[{"id": draft.id, "content": draft.text, "model": item.model, **(item.made or {})}],
            basis="work",
            data_use=bool(item.data_use),
        )
        values = {
            "person_id": principal.person_id,
            "decision": decision,
            "reasons": list(reasons),
            "text": final,
            "judgement_id": judgement_id,
            "decided_at": store.now(),
        }
        conn.execute(update(seconds).where(seconds.c.id == second_id).values(values))
        note_of(conn, store, principal, item, "second", detail={"decision": decision})


def _check_reasons(conn: Connection, item: Any, decision: str, reasons: Sequence[str]) -> None:
    allowed = reason_codes(_rules(conn, item.policy_id))
    if wrong := [reason for reason in reasons if reason not in allowed]:
        raise Invalid(f"reasons has {wrong[0]!r}; allowed are {', '.join(sorted(allowed))}.", param="reasons")
    if decision != "approve" and not reasons:
        raise Invalid("name at least one reason.", param="reasons", code="no_reason")


def _rules(conn: Connection, policy_id: str | None) -> Policy:
    row = conn.execute(select(policies).where(policies.c.id == policy_id)).first()
    return DEFAULT if row is None else view(row)


def pairs(conn: Connection, workspace_id: str, since: int) -> list[tuple[str, str]]:
    """(what the first decision says of the draft, what the second says), of each decided pair."""
    done = select(seconds).where(
        seconds.c.workspace_id == workspace_id,
        seconds.c.decided_at.is_not(None),
        seconds.c.decided_at >= since,
    )
    found: list[tuple[str, str]] = []
    for row in conn.execute(done).all():
        first = conn.execute(
            select(decisions.c.decision)
            .where(decisions.c.item_id == row.item_id, decisions.c.decision.in_(list(CLASS)))
            .order_by(decisions.c.created_at, decisions.c.id)
            .limit(1)
        ).scalar()
        if first is not None:
            found.append((CLASS[first], CLASS[row.decision]))
    return found
