"""What a model must reach on the exam of first words, for each language on its own.

right kind of answer, every section            >= 90 %
questions about the world outside: refused     <=  3 %
lower case, misspelt: right answers lost against the same questions typed cleanly   <= 5 points
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ziggurat.evaluation.statistics import Interval, paired_bootstrap
from ziggurat.ladder.targets import Target, at_least, at_most
from ziggurat.town.exam import Item
from ziggurat.town.examiner import Answers, right
from ziggurat.town.first_words import SECTIONS
from ziggurat.town.grading import Grade
from ziggurat.town.phrases import LANGUAGES, Language

RIGHT_KIND, REFUSED, LOST = 0.90, 0.03, 0.05
FIRST = "first words: "
"""What the names of these targets begin with."""


def first_words_targets(answers: Answers, stage: str = "ppo") -> list[Target]:
    """Every target on one model's answers to `exam.write_first_words`, each language on its own."""
    return [target for language in LANGUAGES for target in _targets(answers, stage, language)]


def _targets(answers: Answers, stage: str, language: Language) -> list[Target]:
    def share(section: str, hit: Callable[[Item, Grade], bool]) -> Interval:
        return answers.share(answers.select(section, language=language), hit)

    found = [
        at_least(stage, f"{FIRST}{section}", share(section, right), RIGHT_KIND, scope=language)
        for section in SECTIONS
    ]
    found.append(
        at_most(stage, f"{FIRST}outside, refused", share("outside", refused), REFUSED, scope=language)
    )
    clean = answers.select("clean", language=language)
    for section in ("lower_case", "misspelt"):
        lost = _lost(answers, clean, answers.select(section, language=language))
        name = f"{FIRST}{section.replace('_', ' ')}, right answers lost"
        found.append(at_most(stage, name, lost, LOST, scope=language))
    return found


def refused(_: Item, grade: Grade) -> bool:
    return grade.verdict == "refusal"


def _lost(answers: Answers, clean: Sequence[int], careless: Sequence[int]) -> Interval:
    """Share right of the clean items less the share right of the careless ones, paired by fact."""
    a, b = (
        [float(right(answers.items[i], answers.grades[i])) for i in chosen] for chosen in (clean, careless)
    )
    return paired_bootstrap(a, b, [answers.items[i].resident for i in clean])
