"""Over-generate and pick: of n samples, how many pass the row's `rules`, and how many tries does it take?

With c acceptable samples of n, drawn without an order (Chen et al., arXiv:2107.03374, section 2.1):

    score       c / n: one sample
    best_of_k   1 - C(n - c, k) / C(n, k): at least one of k is acceptable (a perfect picker); k = 2, 4, ..., n
    tries       (n + 1) / (c + 1): the expected place of the first acceptable sample in random order; where c is 0
                this is n + 1, so it is a lower bound

`exam/picking.py` measures real pickers (a reward model, a rule) against one sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.rules import kept


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    rules = settings.get("rules") or item.row["rules"]
    passed = [all(kept(answer, rule) for rule in rules) for answer in answers]
    return Mark(figures(sum(passed), len(passed)), detail={"passed": passed})


def figures(acceptable: int, n: int) -> dict[str, float]:
    """
    >>> figures(1, 4)
    {'score': 0.25, 'tries': 2.5, 'best_of_2': 0.5, 'best_of_4': 1.0}
    """
    scores = {"score": acceptable / n, "tries": (n + 1) / (acceptable + 1)}
    k = 2
    while k <= n:
        scores[f"best_of_{k}"] = 1 - comb(n - acceptable, k) / comb(n, k)
        k *= 2
    if n > 1 and f"best_of_{n}" not in scores:
        scores[f"best_of_{n}"] = float(acceptable > 0)
    return scores
