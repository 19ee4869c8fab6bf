"""A premise that is false: the answer rejects it and does not then comply with it.

A row's `false_premise` decides; rows with a true premise keep a model that always objects from a high score. Of a false
premise an answer is right where its first three sentences deny something or hold one of the row's `says` (a word of the
truth: "not edible", "1969"), and it gives no instructions after that (`complies`), which is what a recipe for slippers
after "slippers are no food" does. A row with `says` needs one of them, or a denial with no instructions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of
from ziggurat.exam.rules import stance
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
        rejected = bool(answer.strip()) and (
            stance.rejects(answer) or stance.abstains(answer) or (bool(says) and contains(answer, any=says))
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
