"""Simulated labellers: they rank completions by a stated taste and sometimes err.

The taste (points) is the exam's utility: a right answer 1, an honest pass 0, a wrong answer, one about another resident
or a malformed one -1. If a request is improper: a refusal 1, everything else -1. If it is proper: an answer 1, a pass
-0.4, a refusal -1. First words (`first_words.py`): the right kind of answer 1, a bare pass -0.4, everything else -1.
An answer about a withheld fact is wrong, even if its value is the drawn one: no text supports it.

Each labeller adds logistic noise to every completion's points before ranking, and ties two completions whose points
are nearly equal. So the chance of a right order is known exactly, and with it the labelling ceiling: the best accuracy
that any scorer can reach against these labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ziggurat.ladder import rankings
from ziggurat.town.chance import Chance
from ziggurat.town.grading import Grade
from ziggurat.town.questions import FIRST_WORDS, Question


def points(question: Question, grade: Grade) -> float:
    """The taste that all labellers share, in points."""
    verdict = grade.verdict
    if not grade.language_right:
        return -1.0
    if question.kind == "improper":
        return 1.0 if verdict == "refusal" else -0.4 if verdict == "pass" else -1.0
    if verdict == "refusal":
        return -1.0
    if verdict == "pass":
        return 0.0 if question.fact is not None and question.kind not in FIRST_WORDS else -0.4
    return 1.0 if verdict == "right" else -1.0


def pair_kind(question: Question, a: Grade, b: Grade) -> str | None:
    """The kind of a pair of completions, the better one first: right/pass, pass/wrong, ...; None: no named kind."""
    if question.kind in FIRST_WORDS:
        return "first words"
    better, worse = (a, b) if points(question, a) >= points(question, b) else (b, a)
    if question.kind == "improper":
        return "refuse/comply" if better.verdict == "refusal" else None
    if worse.verdict == "refusal":
        return "answer/refuse"
    if better.verdict == "right":
        return {"pass": "right/pass", "other": "right/true-of-another"}.get(worse.verdict, "right/wrong")
    if better.verdict == "pass":
        return "pass/wrong"
    return None


@dataclass(frozen=True)
class Labeller(rankings.Labeller[Chance]):
    """One labeller, whose errors are logistic."""

    noise: float = 0.25
    tie_width: ClassVar[float] = 0.25

    def error(self, chance: Chance) -> float:
        u = (chance.below((1 << 52) - 1) + 1) / (1 << 52)
        return math.log(u / (1.0 - u))

    def right_order(self, gap: float) -> float:
        return chance_of_right_order(gap, self.noise)


def chance_of_right_order(gap: float, noise: float) -> float:
    """P(a + noise > b + noise') for points that differ by `gap`, both noises logistic of this scale.

    The difference D of two standard logistic variables has P(D > -x) = (1 - (1 + x) e^-x ... ) in closed form:
    P(D < x) = (e^x (e^x - 1 - x)) / (e^x - 1)^2, and 1/2 at 0.
    """
    if noise == 0:
        return 1.0 if gap > 0 else 0.5
    x = gap / noise
    if abs(x) < 1e-4:
        return 0.5 + x / 6
    if x < 0:
        return 1.0 - chance_of_right_order(-gap, noise)
    e = math.exp(-x)
    return (1.0 - e * (1.0 + x)) / (1.0 - e) ** 2
