"""What an exam must reach: every target with its figure, its bound, its margin and its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ziggurat.evaluation.report import Table, Verdict
from ziggurat.evaluation.statistics import Interval
from ziggurat.files import plain_json


@dataclass(frozen=True)
class Target:
    """One claim about a climb. A figure that could not be measured is NaN and fails."""

    stage: str
    name: str
    value: float
    low: float | None
    high: float | None
    target: str
    """The bound, for people: ">= 95%"."""
    passed: bool
    margin: float
    """How far the figure that counts lies inside the bound; negative: outside."""
    scope: str = "all"
    """The language or the part of the exam that it is about."""
    shown: str = ""
    """The figure for people, where a decimal number would not say enough."""

    @property
    def figure(self) -> str:
        if self.shown:
            return self.shown
        return f"{self.value:.3f}" if math.isfinite(self.value) else "nothing to measure"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: null where a number is not finite."""
        return dict(plain_json(asdict(self)))


def at_least(
    stage: str,
    name: str,
    x: Interval | float,
    bound: float,
    *,
    use_low: bool = False,
    scope: str = "all",
    target: str = "",
    shown: str = "",
) -> Target:
    """The value, or with `use_low` its lower confidence bound, must reach `bound`."""
    sign = target or (f"lower bound > {bound:.0%}" if use_low else f">= {bound:.0%}")
    return _target(
        stage, name, x, lambda value, low, _: (low if use_low else value) - bound, sign, scope, shown
    )


def at_most(
    stage: str,
    name: str,
    x: Interval | float,
    bound: float,
    *,
    use_high: bool = False,
    scope: str = "all",
    target: str = "",
    shown: str = "",
) -> Target:
    """The value, or with `use_high` its upper confidence bound, must not pass `bound`."""
    sign = target or (f"upper bound <= {bound:.0%}" if use_high else f"<= {bound:.0%}")
    return _target(
        stage, name, x, lambda value, _, high: bound - (high if use_high else value), sign, scope, shown
    )


def _target(
    stage: str,
    name: str,
    x: Interval | float,
    margin_of: Callable[[float, float, float], float],
    target: str,
    scope: str,
    shown: str,
) -> Target:
    """`margin_of` (value, low, high); a number without an interval is all three."""
    value, low, high = (x.value, x.low, x.high) if isinstance(x, Interval) else (x, x, x)
    margin = margin_of(value, low, high)
    margin = margin if math.isfinite(margin) else -math.inf
    known = isinstance(x, Interval)
    return Target(
        stage,
        name,
        value,
        low if known else None,
        high if known else None,
        target,
        margin >= 0,
        margin,
        scope,
        shown,
    )


def summarize(targets: Sequence[Target]) -> str:
    """How many targets are met, and every one that is not."""
    failed = [
        f"{t.stage}: {t.name} ({t.scope}) {t.figure}, target {t.target}" for t in targets if not t.passed
    ]
    met = f"{len(targets) - len(failed)} of {len(targets)} targets met"
    return met + ("; not met: " + "; ".join(failed) if failed else ".")


def target_table(targets: Sequence[Target]) -> Table:
    """For the terminal."""
    rows = [
        [
            t.stage,
            t.name,
            "" if t.scope == "all" else t.scope,
            with_interval(t),
            t.target,
            "met" if t.passed else "NOT MET",
            f"{t.margin:+.3f}" if math.isfinite(t.margin) else "",
        ]
        for t in targets
    ]
    return Table("Targets", ["stage", "target", "", "figure", "bound", "", "margin"], rows)


def with_interval(target: Target) -> str:
    """`0.953 [0.940, 0.966]`; with a sign where the figure has no interval."""
    if target.shown or not math.isfinite(target.value):
        return target.figure
    if target.low is None or target.high is None:
        return f"{target.value:+.3f}"
    return f"{target.value:.3f} [{target.low:.3f}, {target.high:.3f}]"


def verdicts(targets: Sequence[Target]) -> list[Verdict]:
    """For the page."""
    return [
        Verdict(
            f"{t.stage}: {t.name}" + ("" if t.scope == "all" else f" ({t.scope})"),
            t.passed,
            with_interval(t),
            t.target,
        )
        for t in targets
    ]
