"""Over-generate and pick: of n samples, how many are acceptable, and how many tries does it take?

A sample is acceptable where it keeps the row's `rules`. With a judge (`--judge reward:town/reward`) the judge picks
the sample with its highest grade; with a `threshold` in the settings a sample is acceptable where the judge's grade,
from 1 to 10, reaches it, and the rules do not count. With c acceptable samples of n (Chen et al., arXiv:2107.03374,
section 2.1):

    score       c / n: one sample
    best_of_k   1 - C(n - c, k) / C(n, k): at least one of k is acceptable (a perfect picker); k = 2, 4, ..., n
    tries       (n + 1) / (c + 1): the expected place of the first acceptable sample in random order; where c is 0
                this is n + 1, so it is a lower bound
    picked      1 where the judge's pick is acceptable; `picked_gain` is picked - score
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import comb
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.judges.judge import LOWEST, AnyJudge, Case
from ziggurat.exam.rules import kept


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    Raises:
        UsageError: a threshold without a judge; or the row has no rules.
    """
    grades: list[float] = []
    if "judge" in settings:
        cases = [Case(f"{item.id}/{i}", item.messages, text, item.row) for i, text in enumerate(answers)]
        found = _judge(str(settings["judge"])).grade(cases)
        grades = [float(LOWEST) if grade.value is None else grade.value for grade in found]
    if "threshold" in settings:
        if not grades:
            raise UsageError("the metric tries has a threshold and no judge; name one with --judge.")
        passed = [grade >= float(settings["threshold"]) for grade in grades]
    elif rules := settings.get("rules") or item.row.get("rules"):
        passed = [all(kept(text, rule) for rule in rules) for text in answers]
    else:
        raise UsageError(f"row {item.id} has no rules; add `rules`, or give the metric a threshold.")
    scores = figures(sum(passed), len(passed))
    if grades:
        picked = float(passed[max(range(len(grades)), key=grades.__getitem__)])
        scores |= {"picked": picked, "picked_gain": picked - scores["score"]}
    return Mark(scores, detail={"passed": passed, **({"grades": grades} if grades else {})})


def figures(acceptable: int, n: int) -> dict[str, float]:
    """
    >>> figures(1, 4)
    {'score': 0.25, 'tries': 2.5, 'best_of_2': 0.5, 'best_of_4': 1.0}
    """
    scores = {"score": acceptable / n, "tries": (n + 1) / (acceptable + 1)}
    sizes = {1 << i for i in range(1, n.bit_length()) if 1 << i <= n} | ({n} if n > 1 else set())
    for k in sorted(sizes):
        scores[f"best_of_{k}"] = 1 - comb(n - acceptable, k) / comb(n, k)
    return scores


@lru_cache(1)
def _judge(name: str) -> AnyJudge:
    from ziggurat.exam.judges.naming import open_judge

    return open_judge(name)
