"""Answered as the clean wording is: for every other wording of a question, by its kind.

A task of the form choice whose rows of one question share `pair`, and whose strata are the kinds of wording. Figures:
`same_<kind>`, the share of questions whose answer in that wording is the one to the clean wording, right or wrong, and
`same`, the mean over kinds. `settings.clean` names the clean kind (default "clean").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.common import normalised


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError: this metric has figures of a whole task alone."""
    raise UsageError("the metric equivalence has figures of a whole task only; use it for the form choice.")


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    clean = str(settings.get("clean", "clean"))
    asked = {one.pair: said(one) for one in found if one.stratum == clean}
    same: dict[str, list[bool]] = {}
    for one in found:
        if one.stratum != clean and one.pair in asked:
            same.setdefault(one.stratum, []).append(said(one) == asked[one.pair])
    shares = {kind: sum(some) / len(some) for kind, some in same.items()}
    if not shares:
        return {}
    return {"same": sum(shares.values()) / len(shares)} | {f"same_{kind}": v for kind, v in shares.items()}


def said(found: Found) -> Any:
    """What was answered, in a form in which equal answers are equal: of a choice its text."""
    given = found.mark.detail.get("answer")
    if given is not None and "picked" not in found.mark.detail:
        return given
    return normalised(found.answers[0], {}) if found.answers else ""
