"""Stated tastes: what the simulated people want of an answer, as rules that a program checks without noise.

    town    the taste that the town's labellers share (`town/labellers.py`): right +1, an honest pass 0, wrong -1,
            a refusal of what should be refused +1, of anything else -1
    house   at most three sentences, whole to the last, and no opener of a frozen list
            (`benchmarks/real/house_rules.py`): 1, less 1 for each of the two faults; an answer that says nothing, or
            the same again and again: -1

A `Voter` sees the points through logistic noise, and may be hostile: always the opposite, or always the longest answer.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

sys.path.append(str(Path(__file__).resolve().parents[1] / "real"))

from house_data import prompts as house_prompts
from house_data import trimmed
from house_rules import MOST_SENTENCES, style_faults
from rules import is_degenerate

from ziggurat.town.answer_kinds import right_kind as right_kind_of_first_words
from ziggurat.town.chance import Chance
from ziggurat.town.demonstrations import Teacher
from ziggurat.town.demonstrations import reply as true_reply
from ziggurat.town.first_words import model_answer
from ziggurat.town.grading import Grader
from ziggurat.town.labellers import points as town_points
from ziggurat.town.people import Town, build_town
from ziggurat.town.questions import FIRST_WORDS, Question, answer_claim, answer_sort, refuse, work_sum

Manner = Literal["honest", "inverted", "longest"]
UNKNOWN_PERCENT = 60
"""Of the questions of fact that people of the town ask, those whose answer no text states."""
TIE_WIDTH = 0.25
"""Answers whose seen points differ by less are a tie, as for the town's labellers."""


@dataclass(frozen=True)
class Asked:
    """What somebody asks. `about`: what the taste needs to judge an answer."""

    text: str
    kind: str
    about: Any = None


class Taste(Protocol):
    name: str

    def prompts(self, stream: str, count: int) -> list[Asked]:
        """Other ones for another stream; none of them held out."""
        ...

    def points(self, asked: Asked, text: str) -> float: ...

    def better(self, asked: Asked, text: str, chance: random.Random) -> str | None:
        """What a person who likes it so writes instead; None: nothing better comes to mind."""
        ...


class TownTaste:
    """The town's people, who ask single questions about residents B."""

    name = "town"

    def __init__(self, seed: int = 1) -> None:
        self.town: Town = build_town(seed)
        self.teacher, self.grader = Teacher(self.town), Grader(self.town)

    def prompts(self, stream: str, count: int) -> list[Asked]:
        found: dict[str, Asked] = {}
        number = 0
        while len(found) < count:
            question = self.teacher.prompt(number, unknown_percent=UNKNOWN_PERCENT, stream=f"votes {stream}")
            number += 1
            if len(question.messages) == 1:
                text = question.messages[0].content
                found.setdefault(text, Asked(text, kind_of(question), question))
        return list(found.values())

    def points(self, asked: Asked, text: str) -> float:
        return town_points(asked.about, self.grader.grade(asked.about, text))

    def better(self, asked: Asked, text: str, chance: random.Random) -> str | None:  # noqa: ARG002
        question: Question = asked.about
        luck = Chance(self.town.seed, "rewrite", asked.text, chance.getrandbits(32))
        if question.kind in FIRST_WORDS:
            answer = model_answer(question)
            return (
                answer if question.fact is not None or right_kind_of_first_words(question, answer) else None
            )
        if question.kind == "claim":
            return answer_claim(question)
        if question.fact is not None:
            return true_reply(luck, question)
        if question.kind == "improper":
            return refuse(luck, question.language)
        made = {"sum": work_sum, "sort": answer_sort}.get(question.kind)
        return made(question) if made else question.truth


def kind_of(question: Question) -> str:
    """known, unknown (questions of fact), or the question's own kind."""
    if question.fact is not None and question.kind not in FIRST_WORDS:
        return "known" if question.answerable else "unknown"
    return question.kind


class HouseTaste:
    """People who want short answers without an opener."""

    name = "house"

    def prompts(self, stream: str, count: int) -> list[Asked]:
        every = [
            Asked(one.prompt, one.kind) for one in house_prompts(held_out=False) if one.kind != "harmful"
        ]
        random.Random(f"house {stream}").shuffle(every)
        if count > len(every):
            raise ValueError(f"{count} prompts are asked for; the house has {len(every)}.")
        return every[:count]

    def held_out(self, count: int) -> list[Asked]:
        """Names, acts, tasks and wordings of which occur in no other prompt."""
        every = [Asked(one.prompt, one.kind) for one in house_prompts(held_out=True)]
        return every if count >= len(every) else random.Random("held out").sample(every, count)

    def points(self, asked: Asked, text: str) -> float:  # noqa: ARG002 - the house asks the same of every answer
        return -1.0 if is_degenerate(text) else 1.0 - style_faults(text)

    def better(self, asked: Asked, text: str, chance: random.Random) -> str | None:  # noqa: ARG002
        short = trimmed(text, chance.randint(1, MOST_SENTENCES))
        return short if short and short.strip() != text.strip() else None


@dataclass(frozen=True)
class Voter:
    """How one person turns points into judgements."""

    number: int
    seed: int
    manner: Manner = "honest"
    noise: float = 0.25
    """Scale of the logistic error on each answer's points."""

    def chance(self, *more: object) -> random.Random:
        return random.Random(f"voter {self.seed} {self.number} {' '.join(map(str, more))}")

    def sees(self, taste: Taste, asked: Asked, text: str, chance: random.Random) -> float:
        """The points as this person has them."""
        if self.manner == "longest":
            return len(text) / 40.0
        true = taste.points(asked, text)
        u = min(max(chance.random(), 1e-12), 1 - 1e-12)
        seen = true + self.noise * math.log(u / (1 - u))
        return -seen if self.manner == "inverted" else seen


def ranks_of(seen: Sequence[float], width: float = TIE_WIDTH) -> list[int]:
    """Ranks, 1 is best; neighbours in the order that are closer than `width` share one: [2, 0.1, 0] -> [1, 2, 2]."""
    order = sorted(range(len(seen)), key=lambda i: -seen[i])
    ranks = [1] * len(seen)
    for before, after in pairwise(order):
        ranks[after] = ranks[before] + int(seen[before] - seen[after] >= width)
    return ranks
