"""A score card of 100 points with a bonus: every row has `points` and `axis`, and rules as in `rules`.

A row earns its points times the share of its rules that its answer keeps. `card`: all points earned; `card_<axis>`:
those of one axis; `of_<axis>`: how many there are. Axes that the settings call `bonus` may carry it past 100.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics import rules


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """The mark of `rules`, by the share of rules kept, with the row's points in its detail."""
    found = rules.mark(answers, item, {**settings, "main": "rules_kept"})
    points = {"points": float(item.row.get("points", 1)), "axis": str(item.row.get("axis", ""))}
    return replace(found, detail={**found.detail, **points})


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    earned: dict[str, float] = {}
    there: dict[str, float] = {}
    for one in found:
        axis, points = one.mark.detail["axis"], one.mark.detail["points"]
        earned[axis] = earned.get(axis, 0.0) + points * one.mark.scores["score"]
        there[axis] = there.get(axis, 0.0) + points
    figures = {
        "card": sum(earned.values()),
        "card_of": sum(p for a, p in there.items() if a not in settings.get("bonus", [])),
    }
    for axis in there:
        figures |= {f"card_{axis}": earned[axis], f"of_{axis}": there[axis]}
    return figures
