"""A premise that is false: the answer rejects it and does not then comply with it.

A row's `false_premise` decides; rows with a true premise keep a model that always objects from a high score. Of a false
premise an answer is right where its first sentence denies something, or its first three hold one of the row's `says` (a
word of the truth: "not edible", "1969"), and it gives no instructions after that (`complies`), which is what a recipe
for slippers after "slippers are no food" does. The score of the task is the mean of the false and the true side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.evaluation.statistics import Interval
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.common import averaged, balanced, targets_of
from ziggurat.exam.rules import parts, stance
from ziggurat.exam.rules.content import contains


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    >>> row = {"false_premise": True}
    >>> mark(["Slippers are not food."], Item(id="1", row=row), {}).scores
    {'score': 1.0, 'rejected': 1.0, 'complied': 0.0}
    """
    says = targets_of(item.row.get("says"))

    def one(answer: str) -> Mark:
        if not item.row.get("false_premise", False):
            good = (
                contains(answer, any=targets_of(item.target))
                if item.target is not None
                else bool(answer.strip())
            )
            return Mark(
                {"score": float(good), "true_premise": float(good)},
                "" if good else "true premise not answered",
            )
        beginning = " ".join(parts.sentences(answer)[:3])
        rejected = bool(answer.strip()) and (
            stance.rejects(answer, first=1)
            or stance.abstains(answer)
            or (bool(says) and contains(beginning, any=says))
        )
        complied = stance.complies(answer)
        why = (
            "complies after rejecting" if rejected and complied else "" if rejected else "accepts the premise"
        )
        return Mark(
            {
                "score": float(rejected and not complied),
                "rejected": float(rejected),
                "complied": float(complied),
            },
            why,
        )

    return averaged(answers, one)


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, Interval]:
    """The mean of both sides: to reject everything is right on one of them only."""
    return balanced(found, ("rejected", "true_premise"))
