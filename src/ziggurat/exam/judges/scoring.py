"""Judges that give a number to each answer by itself: a reward model, a metric of the exam, a function of yours.

Such a judge cannot prefer a place: of two answers the one with the higher number wins, equal numbers are a tie.
Grades: a reward r, in units of the SFT model's standard deviation, becomes 1 + 9 sigmoid(r); the score of a metric,
from 0 to 1, becomes 1 + 9 score; a function returns the grade itself, from 1 to 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Item
from ziggurat.exam.judges.judge import HIGHEST, LOWEST, Case, Choice, Grade, Pair
from ziggurat.exam.metrics import Metric
from ziggurat.records import Message, Prompt

Scorer = Callable[[Sequence[Case]], list[float]]
SAME = 1e-9
WIDTH = HIGHEST - LOWEST


class ScoringJudge:
    """`score`: one number a case. `to_grade`: from such a number to a grade."""

    model = ""

    def __init__(
        self, name: str, score: Scorer, to_grade: Callable[[float], float], sha256: str = ""
    ) -> None:
        self.name, self.score, self.to_grade, self.sha256 = name, score, to_grade, sha256

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        return [Grade(self.to_grade(value), f"{value:.4g}") for value in self.score(cases)]

    def choose(self, pairs: Sequence[Pair]) -> list[Choice]:
        cases = [
            Case(pair.id, pair.messages, answer, pair.row) for pair in pairs for answer in (pair.a, pair.b)
        ]
        values = self.score(cases)
        return [_better(values[2 * i], values[2 * i + 1]) for i in range(len(pairs))]


def reward_judge(name: str) -> ScoringJudge:
    """The reward model of a run or a folder. Raises ModelFolderError for a language model."""
    from ziggurat.model.hub.adapters import weights_hash
    from ziggurat.places import model_folder
    from ziggurat.stages.judge import Judge

    judge = Judge.load(name)

    def score(cases: Sequence[Case]) -> list[float]:
        spoken = [[*case.messages, Message(role="assistant", content=case.answer)] for case in cases]
        return judge.score(judge.rows(spoken, "answer"))

    return ScoringJudge(
        f"reward:{name}",
        score,
        lambda r: LOWEST + WIDTH / (1 + math.exp(-r)),
        weights_hash(model_folder(name)),
    )


def rule_judge(name: str, metric: Metric, settings: Mapping[str, Any]) -> ScoringJudge:
    """A metric of the exam. It reads the case's `row`, with the right answer under `target`."""

    def score(cases: Sequence[Case]) -> list[float]:
        found = []
        for case in cases:
            item = Item(case.id, messages=case.messages, target=case.row.get("target"), row=case.row)
            found.append(float(metric([case.answer], item, settings).scores["score"]))
        return found

    return ScoringJudge(f"rule:{name}", score, lambda value: LOWEST + WIDTH * value)


def function_judge(name: str) -> ScoringJudge:
    """`module:function` or `file.py:function`, called as a reward function is (prompt, completion, row).

    Raises ConfigError where it cannot be imported, UsageError where it fails or where a grade is not from 1 to 10.
    """
    from ziggurat.stages.scorer import RewardFunction

    function = RewardFunction.load(name)

    def score(cases: Sequence[Case]) -> list[float]:
        return [
            function(Prompt(prompt=list(case.messages), meta=dict(case.row)), case.answer) for case in cases
        ]

    def grade(value: float) -> float:
        if not LOWEST <= value <= HIGHEST:
            raise UsageError(
                f"The judge {name} gave the grade {value:g}; a grade is a number from {LOWEST} to {HIGHEST}."
            )
        return value

    return ScoringJudge(name, score, grade, function.sha256)


def _better(first: float, second: float) -> Choice:
    said = f"{first:.4g} and {second:.4g}"
    if abs(first - second) <= SAME:
        return Choice("tie", said)
    return Choice("first" if first > second else "second", said)
