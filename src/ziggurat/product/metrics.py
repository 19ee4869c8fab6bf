"""Named metrics that programs report about answers and episodes: declared first, then read by release and by day.

A metric is `boolean` (its figure is a share, with Wilson's interval) or `float` (a mean, with Student's). `optimize`
says which way is better; `level` says what it is about.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select

from ziggurat.evaluation.statistics import student_interval, wilson
from ziggurat.product.common import clean, record
from ziggurat.product.errors import Conflict, Invalid, NotFound
from ziggurat.product.objects import Thing
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.store.clock import DAY, iso
from ziggurat.store.ids import new_id
from ziggurat.store.store import Store
from ziggurat.store.tables.judgements import judgements
from ziggurat.store.tables.programs import feedback, inferences
from ziggurat.store.tables.programs import metrics as table

TYPES, WAYS, LEVELS = ("boolean", "float"), ("min", "max"), ("inference", "episode")
RESERVED = ("comment", "demonstration")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
MOST = 1_000


class Metric(Thing):
    name: str
    type: Literal["boolean", "float"]
    optimize: Literal["min", "max"]
    level: Literal["inference", "episode"]
    description: str
    created_at: str


class Figure(Thing):
    """One metric over the answers of one release, of one day, or of all."""

    n: int
    value: float | None
    """The share of `true`, or the mean; None without values."""
    low: float | None
    high: float | None


class MetricReport(Thing):
    metric: Metric
    all: Figure
    by_release: dict[str, Figure]
    """By the release that answered, or by the model where no release did; an episode of several is under `several`."""
    by_day: dict[str, Figure]
    """By the day of the answer, in UTC."""


def declare(
    store: Store,
    principal: Principal,
    *,
    name: str,
    type: str,
    optimize: str,
    level: str,
    description: str = "",
) -> Metric:
    """A new metric. Declaring the same one again changes nothing.

    Raises:
        Conflict: there is one of this name with another type, direction or level.
    """
    require(principal, "metric.write")
    if not isinstance(name, str) or not NAME.fullmatch(name) or name in RESERVED:
        raise Invalid(
            f"name is {name!r}; it must begin with a letter and have up to 64 letters, digits, _, . and -, and "
            f"{' and '.join(RESERVED)} are taken.",
            param="name",
        )
    for param, value, allowed in (
        ("type", type, TYPES),
        ("optimize", optimize, WAYS),
        ("level", level, LEVELS),
    ):
        if value not in allowed:
            raise Invalid(f"{param} is {value!r}; it must be one of {', '.join(allowed)}.", param=param)
    said = {"type": type, "optimize": optimize, "level": level}
    with store.write() as conn:
        found = _row(conn, principal, name)
        if found is not None:
            if any(getattr(found, key) != value for key, value in said.items()):
                raise Conflict(f"there is a metric {name} already, and it is different.", code="exists")
            return view(found)
        mine = table.c.workspace_id == principal.workspace_id
        if (conn.execute(select(func.count()).where(mine)).scalar() or 0) >= MOST:
            raise Conflict(f"there are {MOST:,} metrics already; use one of them.", code="too_many_metrics")
        row = {
            "id": new_id("metric"),
            "workspace_id": principal.workspace_id,
            "name": name,
            "description": clean(description, "description", limit=2_000, empty=True),
            "created_at": store.now(),
            **said,
        }
        conn.execute(insert(table).values(row))
        record(conn, store, principal, "metric.declare", kind="metric", object_id=str(row["id"]), detail=said)
        return view(_row(conn, principal, name))


def listed(store: Store, principal: Principal) -> list[Metric]:
    """All metrics of the workspace, by name."""
    require(principal, "feedback")
    wanted = select(table).where(table.c.workspace_id == principal.workspace_id).order_by(table.c.name)
    with store.read() as conn:
        return [view(row) for row in conn.execute(wanted)]


def metric_row(conn: Connection, principal: Principal, name: str) -> Any:
    """
    Raises:
        NotFound: no metric of this name was declared.
    """
    found = _row(conn, principal, name)
    if found is None:
        raise NotFound(
            f"there is no metric {name[:64]!r}; declare it first with POST /v1/feedback/metrics.",
            code="metric_not_found",
            param="metric_name",
        )
    return found


def report(
    store: Store,
    principal: Principal,
    name: str,
    *,
    days: int = 90,
    releases: Sequence[str] = (),
) -> MetricReport:
    """A metric over the answers of the last `days`, by release and by day, for dashboards.

    releases: only these; all where none is named.
    """
    require(principal, "judgement.read")
    with store.read() as conn:
        row = metric_row(conn, principal, name)
        found = values(conn, principal.workspace_id, row, since=store.now() - days * DAY)
    found = [one for one in found if not releases or one[0] in releases]
    by_release, by_day = defaultdict(list), defaultdict(list)
    for release, at, value in found:
        by_release[release].append(value)
        by_day[iso(at)[:10]].append(value)
    return MetricReport(
        metric=view(row),
        all=figure(row.type, [value for *_, value in found]),
        by_release={key: figure(row.type, by_release[key]) for key in sorted(by_release)},
        by_day={key: figure(row.type, by_day[key]) for key in sorted(by_day)},
    )


def values(
    conn: Connection, workspace_id: str, metric: Any, *, since: int = 0
) -> list[tuple[str, int, float]]:
    """(release or model, time of the answer, value) of every current value; the criterion of a gate reads this."""
    current = (
        feedback.c.metric_id == metric.id,
        feedback.c.workspace_id == workspace_id,
        feedback.c.current,
        judgements.c.withdrawn_at.is_(None),
    )
    wanted = (
        select(judgements.c.value, inferences.c.release, inferences.c.model, inferences.c.created_at)
        .join(feedback, feedback.c.judgement_id == judgements.c.id)
        .where(*current)
    )
    if metric.level == "inference":
        of_answers = wanted.join(inferences, inferences.c.id == feedback.c.inference_id)
        rows = conn.execute(of_answers.where(inferences.c.created_at >= since).order_by(feedback.c.id))
        return [(row.release or row.model, row.created_at, float(row.value["value"])) for row in rows]
    of_episodes = wanted.add_columns(feedback.c.id).join(
        inferences, inferences.c.episode_id == feedback.c.episode_id
    )
    grouped: dict[str, list[Any]] = defaultdict(list)
    for row in conn.execute(of_episodes.where(inferences.c.created_at >= since).order_by(feedback.c.id)):
        grouped[row.id].append(row)
    return [
        (_one({row.release or row.model for row in rows}), rows[0].created_at, float(rows[0].value["value"]))
        for rows in grouped.values()
    ]


def _one(names: set[str]) -> str:
    return next(iter(names)) if len(names) == 1 else "several"


def figure(kind: str, values: Iterable[float]) -> Figure:
    """The share or the mean of values, with its interval of 95 %."""
    numbers = list(values)
    if not numbers:
        return Figure(n=0, value=None, low=None, high=None)
    found = (
        wilson(round(sum(numbers)), len(numbers)) if kind == "boolean" else student_interval(numbers)
    ).to_dict()
    return Figure(n=len(numbers), value=found["value"], low=found["low"], high=found["high"])


def _row(conn: Connection, principal: Principal, name: str) -> Any:
    mine = (table.c.workspace_id == principal.workspace_id) & (table.c.name == name)
    return conn.execute(select(table).where(mine)).first()


def view(row: Any) -> Metric:
    names = ("name", "type", "optimize", "level", "description")
    return Metric(created_at=iso(row.created_at), **{name: getattr(row, name) for name in names})
