"""What a model must reach on the exam of first words, for each language on its own.

right kind of answer, every section            >= 90 %
questions about the world outside: refused     <=  3 %
lower case, misspelt: right answers lost against the same questions typed cleanly   <= 5 points
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ziggurat.evaluation.statistics import Interval, paired_bootstrap
from ziggurat.town.exam import Item
from ziggurat.town.examiner import Answers, right
from ziggurat.town.first_words import SECTIONS
from ziggurat.town.grading import Grade
from ziggurat.town.phrases import LANGUAGES, Language

RIGHT_KIND, REFUSED, LOST = 0.90, 0.03, 0.05


@dataclass(frozen=True)
class FirstWordsTarget:
    """One target: `figure` is a share or a difference of shares, the bound counts against `figure.value`."""

    name: str
    language: Language
    figure: Interval
    bound: float
    at_least: bool  # False: at most

    @property
    def reached(self) -> bool:
        return self.margin >= 0

    @property
    def margin(self) -> float:
        """How far the figure lies inside the target; negative: outside."""
        return (self.figure.value - self.bound) * (1 if self.at_least else -1)


def first_words_targets(answers: Answers) -> list[FirstWordsTarget]:
    """Every target on one model's answers to `exam.write_first_words`."""
    return [target for language in LANGUAGES for target in _targets(answers, language)]


def _targets(answers: Answers, language: Language) -> list[FirstWordsTarget]:
    found = [
        FirstWordsTarget(
            f"{section}: right kind of answer",
            language,
            answers.share(answers.select(section, language=language), right),
            RIGHT_KIND,
            True,
        )
        for section in SECTIONS
    ]
    outside = answers.share(answers.select("outside", language=language), refused)
    found.append(FirstWordsTarget("outside: refused", language, outside, REFUSED, False))
    clean = answers.select("clean", language=language)
    for section in ("lower_case", "misspelt"):
        careless = answers.select(section, language=language)
        found.append(
            FirstWordsTarget(
                f"{section.replace('_', ' ')}: right answers lost",
                language,
                _lost(answers, clean, careless),
                LOST,
                False,
            )
        )
    return found


def refused(_: Item, grade: Grade) -> bool:
    return grade.verdict == "refusal"


def _lost(answers: Answers, clean: Sequence[int], careless: Sequence[int]) -> Interval:
    """Share right of the clean items less the share right of the careless ones, paired by fact."""
    a, b = (
        [float(right(answers.items[i], answers.grades[i])) for i in chosen] for chosen in (clean, careless)
    )
    return paired_bootstrap(a, b, [answers.items[i].resident for i in clean])
