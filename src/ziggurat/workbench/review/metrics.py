"""The figures of the review (PRODUCT 4.3), each share with Wilson's 95 % interval, over a window of days.

The one-quarter rule (A116): a topic pays where at least a quarter of the drafts are usable, that is approved as they
are or after light edits. `clears` compares the interval, not the share, with a quarter, a half and three quarters: yes
where its lower bound reaches the bar, no where its upper bound stays below, else undecided.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, func, select

from ziggurat.evaluation.agreement import cohen_kappa
from ziggurat.evaluation.statistics import wilson
from ziggurat.product.common import whole
from ziggurat.product.errors import Invalid
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import DAY, EPOCH, SECOND, iso
from ziggurat.store.store import Store
from ziggurat.store.tables.people import people
from ziggurat.store.tables.reviews import deliveries, items, looks
from ziggurat.workbench.review import hours
from ziggurat.workbench.review.objects import OPEN
from ziggurat.workbench.review.outcomes import Outcome, outcomes
from ziggurat.workbench.review.policies import DEFAULT, Policy, rows, view
from ziggurat.workbench.review.seconds import pairs

BARS = (0.25, 0.5, 0.75)
READING = 25
"""Characters a second that somebody reads (PRODUCT 4.3)."""
ENOUGH_WRITTEN = 5
"""Own answers in a topic before the time of writing one is known."""
GROUPS: Mapping[str, Callable[[Outcome], str]] = {
    "topic": lambda one: str(one.item.topic),
    "model": lambda one: str(one.item.model or ""),
    "topic_model": lambda one: f"{one.item.topic} · {one.item.model or ''}",
    "reviewer": lambda one: str(one.reviewer or ""),
    "week": lambda one: _week(one.item.decided_at or one.item.delivered_at),
}


def _week(us: int) -> str:
    year, week, _ = (EPOCH + timedelta(microseconds=us)).isocalendar()
    return f"{year}-W{week:02d}"


def share(hits: int, n: int) -> dict[str, float | int | None]:
    """A rate with its interval."""
    found = wilson(hits, n).to_dict()
    return {"value": found["value"], "low": found["low"], "high": found["high"], "hits": hits, "n": n}


def clears(hits: int, n: int) -> dict[str, str]:
    """Whether a share reaches a quarter, a half, three quarters."""
    interval = wilson(hits, n)
    said = {}
    for bar in BARS:
        verdict = "undecided"
        if n and interval.low >= bar:
            verdict = "yes"
        elif n and interval.high < bar:
            verdict = "no"
        said[f"{bar:g}"] = verdict
    return said


def metrics(store: Store, principal: Principal, *, days: int = 30, by: str = "topic") -> dict[str, Any]:
    """All figures of the last days, and those of each group: topic, model, topic_model, reviewer or week."""
    require(principal, "review")
    days = whole(days, "days", 1, 3_650)
    if by not in GROUPS:
        raise Invalid(f"by is {by!r}; it must be one of {', '.join(GROUPS)}.", param="by")
    since = store.now() - days * DAY
    with store.read() as conn:
        found = outcomes(conn, principal.workspace_id, since)
        rules = {row.topic: view(row) for row in rows(conn, principal.workspace_id)}
        viewed = _viewed(conn, found)
        names = _names(conn, found) if by == "reviewer" else {}
        groups: dict[str, list[Outcome]] = defaultdict(list)
        for one in found:
            if by != "reviewer" or one.by_person:
                groups[GROUPS[by](one)].append(one)
        both = pairs(conn, principal.workspace_id, since)
        return {
            "days": days,
            "by": by,
            "all": _figures(found, rules, viewed),
            "groups": [
                {"key": key, "name": names.get(key, key), **_figures(group, rules, viewed)}
                for key, group in sorted(groups.items())
            ],
            "queue": _queue(conn, store, principal, since, found),
            "agreement": share(sum(a == b for a, b in both), len(both)),
            "kappa": cohen_kappa(both).to_dict() if both else None,
            "drift": drift(found),
        }


def _in_time(item: Any) -> bool:
    """Whether it was decided in time. Claimed too late is not decided too late; a breach before a complaint, which
    moved the deadlines, counts."""
    return item.breached_at is None or item.claim_due_at <= item.breached_at < item.due_at


def _figures(
    found: Sequence[Outcome], rules: Mapping[str, Policy], viewed: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    people_said = [one for one in found if one.by_person]
    n, what = len(people_said), Counter(one.what for one in people_said)
    usable = sum(one.usable for one in people_said)
    sent = [one for one in found if one.item.delivered_at is not None]
    approved = [one for one in people_said if one.what == "unchanged"]
    reasons = Counter(reason for one in people_said for reason in one.reasons)
    edited = [one for one in people_said if one.what in ("edited", "answered")]
    late = [one for one in people_said if _in_time(one.item)]
    return {
        "decided": n,
        "by_policy": len(found) - n,
        "unchanged": share(what["unchanged"], n),
        "light": share(sum(one.light for one in people_said), n),
        "usable": share(usable, n),
        "clears": clears(usable, n),
        "rejected": share(n - what["unchanged"] - what["edited"], n),
        "outcomes": dict(sorted(what.items())),
        "reasons": dict(reasons.most_common()),
        "contained": share(len(found) - n, len(sent)),
        "escapes": share(sum(one.escaped for one in sent), len(sent)),
        "in_time": share(len(late), n),
        "rubber_stamps": share(sum(_too_fast(one, viewed) for one in approved), len(approved)),
        "times": _times(people_said, rules),
        "edits": _edits(edited, people_said),
    }


def _too_fast(one: Outcome, viewed: Mapping[tuple[str, str], float]) -> bool:
    """Approved faster than the text is read: a signal, not a proof. Without a page in view, by the time since the
    claim."""
    said = one.decision
    spent = viewed.get((one.item.id, said.person_id), 0.0) or said.viewed_s or said.seconds or 0.0
    length = sum(len(str(part.get("content") or "")) for part in one.item.prompt[-1:])
    return bool(spent < (length + _drafted(one)) / READING)


def _drafted(one: Outcome) -> int:
    return int(one.item.signals.get("characters") or 0)


def _times(found: Sequence[Outcome], rules: Mapping[str, Policy]) -> dict[str, Any]:
    """Seconds to the claim, from there to the decision, and from end to end; by the wall clock and in open hours."""
    claim, decide, whole_way, open_way = [], [], [], []
    for one in found:
        item = one.item
        calendar = rules.get(item.topic, DEFAULT).calendar
        if item.claimed_at is not None:
            claim.append((item.claimed_at - item.created_at) / SECOND)
            decide.append((item.decided_at - item.claimed_at) / SECOND)
        whole_way.append((item.decided_at - item.created_at) / SECOND)
        open_way.append(hours.between(item.created_at, item.decided_at, calendar))
    return {
        "to_claim": _quantiles(claim),
        "to_decide": _quantiles(decide),
        "whole": _quantiles(whole_way),
        "whole_open": _quantiles(open_way),
    }


def _quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """The smallest value that at least so many percent do not exceed."""
    ordered = sorted(values)

    def at(part: float) -> float | None:
        return round(ordered[max(0, math.ceil(part * len(ordered)) - 1)], 1) if ordered else None

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99)}


def _edits(edited: Sequence[Outcome], found: Sequence[Outcome]) -> dict[str, Any]:
    """Characters that were changed, minutes that were spent, and what an approval saves against an own answer."""
    changed = [one.decision.changed for one in edited if one.decision.changed is not None]
    spent = sum((one.decision.seconds or 0.0) for one in found) / 60
    wrote = sorted(one.decision.seconds for one in found if one.what == "answered" and one.decision.seconds)
    passed = sorted(one.decision.seconds for one in found if one.usable and one.decision.seconds is not None)
    saved = None
    if len(wrote) >= ENOUGH_WRITTEN and passed:
        saved = round(wrote[len(wrote) // 2] - passed[len(passed) // 2], 1)
    return {
        "characters": sum(changed),
        "minutes": round(spent, 1),
        "saved_s_each": saved,
    }


def _queue(
    conn: Connection, store: Store, principal: Principal, since: int, found: Sequence[Outcome]
) -> dict[str, Any]:
    mine = items.c.workspace_id == principal.workspace_id
    depth, oldest = conn.execute(
        select(func.count(), func.min(items.c.created_at)).where(mine, items.c.state.in_(OPEN))
    ).one()
    came = conn.execute(select(func.count()).where(mine, items.c.created_at >= since)).scalar_one()
    went = conn.execute(
        select(func.count()).where(
            deliveries.c.workspace_id == principal.workspace_id, deliveries.c.created_at >= since
        )
    ).scalar_one()
    active = {one.reviewer for one in found if one.reviewer}
    return {
        "depth": depth,
        "oldest_at": None if oldest is None else iso(oldest),
        "oldest_s": None if oldest is None else round((store.now() - oldest) / SECOND),
        "came": came,
        "delivered": went,
        "reviewers": len(active),
    }


def drift(found: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Each model's usable share on one mix of topics: that of all decided items which have been decided for every
    model. A difference is then the model's, and not that of harder questions."""
    said = [one for one in found if one.by_person and one.item.model]
    models = sorted({one.item.model for one in said})
    by_cell: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for one in said:
        by_cell[one.item.model, one.item.topic].append(one.usable)
    topics = [t for t in {one.item.topic for one in said} if all((m, t) in by_cell for m in models)]
    weight = {topic: sum(len(by_cell[m, topic]) for m in models) for topic in topics}
    total = sum(weight.values())
    if len(models) < 2 or not total:
        return []
    return [
        {
            "model": model,
            "usable": round(
                sum(weight[t] * sum(by_cell[model, t]) / len(by_cell[model, t]) for t in topics) / total, 4
            ),
            "n": sum(len(by_cell[model, t]) for t in topics),
        }
        for model in models
    ]


def _viewed(conn: Connection, found: Sequence[Outcome]) -> dict[tuple[str, str], float]:
    ids = [one.item.id for one in found]
    seen: dict[tuple[str, str], float] = {}
    for at in range(0, len(ids), 500):
        part = conn.execute(select(looks).where(looks.c.item_id.in_(ids[at : at + 500])))
        seen |= {(row.item_id, row.person_id): row.viewed_s for row in part}
    return seen


def _names(conn: Connection, found: Sequence[Outcome]) -> dict[str, str]:
    ids = {one.reviewer for one in found if one.reviewer}
    named = conn.execute(select(people.c.id, people.c.name).where(people.c.id.in_(ids)))
    return {row.id: row.name for row in named}
