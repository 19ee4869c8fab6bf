"""Exact match after normalisation: 1 if the answer is a right one.

Settings: see `normalised` (common.py).

"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, normalised, targets_of


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: the right answer, or a list of them.

    >>> mark(["Paris."], Item(id="1", target="paris"), {}).scores["score"]
    1.0
    """
    wanted = {normalised(one, settings) for one in targets_of(item.target)}

    def one(answer: str) -> Mark:
        given = normalised(answer, settings)
        right = given in wanted
        why = "" if right else f"not {targets_of(item.target)[0] if wanted else 'a given answer'}"
        return Mark({"score": float(right)}, why, {"answer": given})

    return averaged(answers, one)
