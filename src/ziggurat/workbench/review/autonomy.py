"""Staged autonomy: a topic goes from all, to a sample, to letting pass, only on evidence; one switch goes back.

The evidence: over at least `min_items` decided items of the window, the lower 95 % bound (Wilson) of the share approved
unchanged reaches `threshold`, and no decision in it is marked as severe. A topic with four eyes stays as it is.
Each change is an audit entry. A severe decision in a topic that lets answers pass switches it back at once.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, distinct, func, select, update

from ziggurat.evaluation.statistics import wilson
from ziggurat.product.common import record
from ziggurat.product.errors import Conflict, Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import DAY
from ziggurat.store.store import Store
from ziggurat.store.tables.reviews import decisions, items
from ziggurat.store.tables.reviews import policies as table
from ziggurat.workbench.review.metrics import share
from ziggurat.workbench.review.outcomes import outcomes
from ziggurat.workbench.review.policies import Kept, policy_of, rows, view, write

STAGES = ("all", "sampled", "auto")


def evidence(store: Store, principal: Principal, policy_id: str) -> dict[str, Any]:
    """What the experts' decisions say about a topic, and which stage they allow."""
    require(principal, "review")
    with store.read() as conn:
        return _evidence(conn, store, policy_of(conn, principal, policy_id), principal.workspace_id)


def _evidence(conn: Connection, store: Store, policy: Kept, workspace_id: str) -> dict[str, Any]:
    rule = policy.autonomy
    since = store.now() - rule.window_days * DAY
    found = [one for one in outcomes(conn, workspace_id, since, topic=policy.topic) if one.by_person]
    unchanged = sum(one.what == "unchanged" for one in found)
    severe = _severe(conn, workspace_id, policy.topic, since)
    low = wilson(unchanged, len(found)).low if found else 0.0
    missing = []
    if policy.four_eyes:
        missing.append("four_eyes")
    if len(found) < rule.min_items:
        missing.append("items")
    if low < rule.threshold:
        missing.append("share")
    if severe:
        missing.append("severe")
    return {
        "mode": policy.mode,
        "unchanged": share(unchanged, len(found)),
        "severe": severe,
        "threshold": rule.threshold,
        "min_items": rule.min_items,
        "window_days": rule.window_days,
        "missing": missing,
        "allowed": not missing,
    }


def _severe(conn: Connection, workspace_id: str, topic: str, since: int) -> int:
    """Items with a severe decision since then, whoever let the answer pass and whenever it was delivered."""
    harmed = (
        select(func.count(distinct(items.c.id)))
        .join(decisions, decisions.c.item_id == items.c.id)
        .where(
            items.c.workspace_id == workspace_id,
            items.c.topic == topic,
            decisions.c.severe.is_(True),
            decisions.c.created_at >= since,
        )
    )
    return int(conn.execute(harmed).scalar_one())


def change_mode(store: Store, principal: Principal, policy_id: str, mode: str) -> Kept:
    """One stage up on evidence, or back to any earlier one at once.

    Raises:
        Conflict: the evidence does not allow it (code not_earned).
    """
    require(principal, "review.lead")
    if mode not in STAGES:
        raise Invalid(f"mode is {mode!r}; it must be one of {', '.join(STAGES)}.", param="mode")
    with store.write() as conn:
        policy = policy_of(conn, principal, policy_id)
        said = _evidence(conn, store, policy, principal.workspace_id)
        at, to = STAGES.index(policy.mode), STAGES.index(mode)
        if to > at + 1:
            raise Conflict("a topic goes from all to sampled, and from there to auto.", code="not_earned")
        if to > at and not said["allowed"]:
            raise Conflict(
                f"the decisions do not allow it yet ({', '.join(said['missing'])}).", code="not_earned"
            )
        if to != at:
            write(conn, store, principal, policy_id, {"mode": mode})
            detail = {"topic": policy.topic, "from": policy.mode, "to": mode, **said["unchanged"]}
            record(
                conn,
                store,
                principal,
                "review.autonomy",
                kind="review_policy",
                object_id=policy_id,
                detail=detail,
                before=policy.mode,
                after=mode,
            )
        return policy_of(conn, principal, policy_id)


def stop_all(store: Store, principal: Principal) -> int:
    """The one switch back: every topic reviews everything from now on. Returns how many changed."""
    require(principal, "review.lead")
    with store.write() as conn:
        changed = [row for row in rows(conn, principal.workspace_id) if row.mode != "all"]
        for row in changed:
            write(conn, store, principal, row.id, {"mode": "all"})
            record(
                conn,
                store,
                principal,
                "review.autonomy",
                kind="review_policy",
                object_id=row.id,
                detail={"topic": row.topic, "from": row.mode, "to": "all", "all_topics": True},
                before=row.mode,
                after="all",
            )
        return len(changed)


def back_after_harm(conn: Connection, store: Store, principal: Principal, item: Any) -> None:
    """A severe decision: the item's topic reviews everything again."""
    row = conn.execute(select(table).where(table.c.id == item.policy_id, table.c.mode != "all")).first()
    if row is None:
        return
    conn.execute(
        update(table)
        .where(table.c.id == row.id)
        .values(mode="all", version=row.version + 1, updated_at=store.now())
    )
    record(
        conn,
        store,
        principal,
        "review.autonomy",
        kind="review_policy",
        object_id=row.id,
        detail={"topic": row.topic, "from": view(row).mode, "to": "all", "severe": item.id},
        before=row.mode,
        after="all",
    )
