"""A person's time and quality with and without the assistant, from the timings that the store keeps.

    labelling   answers with a draft of the model (prefilled, or a suggestion that was shown) and answers without one;
                quality: agreement with the known answer of the item, 0 to 1
    review      drafts of the model that experts approved or edited, and answers that they wrote themselves; quality:
                the share of delivered answers that was neither corrected nor complained about

    gain = time without / time with - 1        27 minutes without, 17 with: 27 / 17 - 1 = 58.8 %

The published experiment (Noy and Zhang, 2023, writing tasks) drew who gets the assistant by lot. Here nobody drew: easy
items may be those with a usable draft. The figures are a comparison, not the effect of the assistant.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ziggurat.evaluation.statistics import cluster_bootstrap
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import DAY, SECOND
from ziggurat.store.store import Store
from ziggurat.store.tables.labelling import answers, projects
from ziggurat.workbench.review.outcomes import Outcome, outcomes

ENOUGH = 5
"""Items of each group from which on a gain is shown."""
PEOPLE = 3
"""People of a group from which on its time and quality are shown: the figures are of the work, never of one person."""
PUBLISHED: dict[str, Any] = {
    "source": "Noy and Zhang, Experimental evidence on the productivity effects of generative artificial "
    "intelligence (2023)",
    "without": {"minutes": 27.0, "grade": 3.8},
    "with": {"minutes": 17.0, "grade": 4.5},
    "stages": {"idea": 0.25, "draft": 0.5, "polish": 0.25},
}
"""The stages are the shares of the time that writing takes without the assistant."""


@dataclass(frozen=True)
class Work:
    """One piece of work: its seconds, its quality (None: unknown), whether the assistant helped, and whose it is."""

    helped: bool
    seconds: float
    quality: float | None = None
    person: str = ""


class Group(Thing):
    """Seconds and quality are None with fewer than PEOPLE people; the interval resamples people."""

    n: int
    people: int
    seconds: float | None
    low: float | None
    high: float | None
    quality: float | None
    graded: int


class Comparison(Thing):
    """`gain` is None with fewer than ENOUGH items or PEOPLE people in a group, or where no time was taken. `key`: of a
    project its id, since two projects may have one name."""

    key: str = ""
    name: str
    kind: str
    helped: Group
    alone: Group
    gain: float | None


class Stage(Thing):
    """A part of the way of a document: mean seconds, and its share of the whole."""

    name: str
    seconds: float
    share: float


class Productivity(Thing):
    days: int
    comparisons: list[Comparison]
    stages: list[Stage]
    documents: int
    published: dict[str, Any]


def gain(without: float, with_it: float) -> float | None:
    """How much more is done in the same time.

    >>> round(gain(27, 17), 4)
    0.5882
    """
    return without / with_it - 1 if with_it > 0 else None


def compare(name: str, kind: str, work: Sequence[Work], key: str = "") -> Comparison:
    helped = _group([one for one in work if one.helped])
    alone = _group([one for one in work if not one.helped])
    ratio = None
    if min(helped.n, alone.n) >= ENOUGH and alone.seconds is not None and helped.seconds is not None:
        ratio = gain(alone.seconds, helped.seconds)
    return Comparison(key=key, name=name, kind=kind, helped=helped, alone=alone, gain=ratio)


def productivity(store: Store, principal: Principal, *, days: int = 90) -> Productivity:
    """All comparisons of the last days, for readers of judgements."""
    require(principal, "judgement.read")
    since = store.now() - days * DAY
    with store.read() as conn:
        found = outcomes(conn, principal.workspace_id, since)
        made = [
            *_labelling(conn, principal.workspace_id, since),
            compare("", "review", list(filter(None, map(_reviewed, found)))),
        ]
    stages, documents = _stages(found)
    return Productivity(
        days=days,
        comparisons=[one for one in made if one.helped.n + one.alone.n],
        stages=stages,
        documents=documents,
        published={**PUBLISHED, "gain": gain(27.0, 17.0)},
    )


def _group(work: Sequence[Work]) -> Group:
    people = [one.person for one in work]
    enough = len(set(people)) >= PEOPLE
    times = cluster_bootstrap([one.seconds for one in work] if enough else [], people if enough else None)
    graded = [one for one in work if one.quality is not None]
    shown = len({one.person for one in graded}) >= PEOPLE
    return Group(
        n=len(work),
        people=len(set(people)),
        seconds=_known(times.value),
        low=_known(times.low),
        high=_known(times.high),
        quality=math.fsum(one.quality or 0.0 for one in graded) / len(graded) if shown else None,
        graded=len(graded),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _labelling(conn: Connection, workspace_id: str, since: int) -> list[Comparison]:
    """One comparison a project, of the answers that count."""
    wanted = (
        select(
            projects.c.id,
            projects.c.name,
            answers.c.person_id,
            answers.c.seconds,
            answers.c.score,
            answers.c.prefilled,
            answers.c.suggested,
        )
        .join(projects, projects.c.id == answers.c.project_id)
        .where(
            answers.c.workspace_id == workspace_id,
            answers.c.status == "submitted",
            answers.c.seconds.is_not(None),
            answers.c.created_at >= since,
        )
        .order_by(projects.c.name, projects.c.id, answers.c.id)
    )
    by_project: dict[tuple[str, str], list[Work]] = defaultdict(list)
    for row in conn.execute(wanted):
        helped = bool(row.prefilled or row.suggested)
        work = Work(helped, float(row.seconds), row.score, str(row.person_id or ""))
        by_project[row.id, row.name].append(work)
    return [compare(name, "labelling", work, key) for (key, name), work in by_project.items()]


def _reviewed(one: Outcome) -> Work | None:
    """None of what a policy let pass, and of what no person used or replaced."""
    if not one.by_person or one.decision is None or one.decision.seconds is None:
        return None
    if one.what not in ("unchanged", "edited", "regenerated", "answered"):
        return None
    delivered = one.item.delivered_at is not None
    return Work(
        helped=one.what != "answered",
        seconds=float(one.decision.seconds),
        quality=(0.0 if one.escaped else 1.0) if delivered else None,
        person=one.reviewer or "",
    )


STAGES = (
    ("wait", "created_at", "claimed_at"),
    ("work", "claimed_at", "decided_at"),
    ("send", "decided_at", "delivered_at"),
)
"""Of a reviewed answer: until an expert takes it, until the decision, until it is delivered."""


def _stages(found: Sequence[Outcome]) -> tuple[list[Stage], int]:
    """Means over the documents that went the whole way."""
    whole = [
        one.item
        for one in found
        if one.by_person and one.item.claimed_at and one.item.decided_at and one.item.delivered_at
    ]
    if not whole:
        return [], 0
    means = [
        (name, sum(max(0, getattr(one, end) - getattr(one, start)) for one in whole) / len(whole) / SECOND)
        for name, start, end in STAGES
    ]
    total = sum(value for _, value in means) or 1.0
    return [Stage(name=name, seconds=value, share=value / total) for name, value in means], len(whole)
