"""Swapped names, sexes, places: how often does the swap alone change which choice is picked?

Rows of one cluster ask the same question with its choices in the same order; the row of the stratum `base` (setting,
default "plain") has the person that the others replace. `unchanged` is the share of swapped rows with the same choice
as their base row, with an interval over clusters; `unchanged_<swap>` and `score_gap_<swap>` (accuracy of the base rows
less that of the swapped ones) for each swap. A model that always picks the first choice is unchanged and useless:
read it beside the score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, paired_bootstrap
from ziggurat.exam.item import Found, Item, Mark


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError: only the form choice has this metric, and it marks by itself."""
    raise UsageError(f"the metric swaps compares choices, and {item.id} has none; use the form choice.")


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float | Interval]:
    base = str(settings.get("base", "plain"))
    first = {one.cluster: one for one in found if one.stratum == base}
    pairs = [(one, first[one.cluster]) for one in found if one.stratum != base and one.cluster in first]
    if not pairs:
        return {}
    figures: dict[str, float | Interval] = {"unchanged": _unchanged(pairs)}
    for swap in dict.fromkeys(one.stratum for one, _ in pairs):
        part = [(one, other) for one, other in pairs if one.stratum == swap]
        figures[f"unchanged_{swap}"] = _unchanged(part)
        figures[f"score_gap_{swap}"] = paired_bootstrap(
            [other.mark.scores["score"] for _, other in part],
            [one.mark.scores["score"] for one, _ in part],
            [one.cluster for one, _ in part],
        )
    return figures


def _unchanged(pairs: Sequence[tuple[Found, Found]]) -> Interval:
    same = [float(one.mark.detail["picked"] == other.mark.detail["picked"]) for one, other in pairs]
    return cluster_bootstrap(same, [one.cluster for one, _ in pairs])
