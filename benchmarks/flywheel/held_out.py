"""What a release is worth on prompts that nobody voted on, by the noise-free taste, answered greedily.

    town    `write_exam` and `write_first_words` of the town: facts about residents C in wordings of their own. The win
            rate is over a sample in the proportions in which people ask (`MIXTURE`); right answers are over the exam's
            `known` facts, refusals over its `proper` requests, inventions over its `unknown` facts
    house   the 410 held-out prompts of `benchmarks/real`; and the loss on held-out text

A win rate is the mean over prompts of 1 where the release's answer has more points, 1/2 where both have the same, 0
where the other's has more. Beside it: the share won of the prompts that are decided.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import measures  # benchmarks/real: `tastes` puts that folder on the path
from tastes import Asked, HouseTaste, TownTaste, kind_of

from ziggurat.dialogue.chat import Chat
from ziggurat.engine.params import SamplingParams
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap, paired_bootstrap
from ziggurat.records import Message
from ziggurat.town.exam import Item, write_exam, write_first_words

TOWN_TOKENS, HOUSE_TOKENS = 64, 96
MIXTURE = {"known": 20, "unknown": 31, "improper": 9, "proper": 12, "sum": 6, "sort": 5, "first words": 17}
"""Per cent of what the town's people ask in one message (`PROMPT_MIXTURE`), UNKNOWN_PERCENT of its facts unknown."""
CARELESS_TWINS = ("clean", "lower_case", "misspelt")
"""Sections that ask one fact in three spellings: not counted among the first words."""


@dataclass
class Sheet:
    """One release's answers and their points, prompt by prompt."""

    name: str
    texts: list[str]
    points: list[float]
    groups: dict[str, list[float]] = field(default_factory=dict)
    """right, invented, refused_proper: 1 or 0 an item."""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Wins:
    """One release over another."""

    rate: Interval
    decided: int
    won: int

    def to_dict(self) -> dict[str, Any]:
        return {"rate": self.rate.to_dict(), "decided": self.decided, "won": self.won}


def wins(ours: Sheet, theirs: Sheet) -> Wins:
    pairs = list(zip(ours.points, theirs.points, strict=True))
    rate = cluster_bootstrap([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    return Wins(rate, sum(a != b for a, b in pairs), sum(a > b for a, b in pairs))


def change(ours: Sheet, theirs: Sheet, group: str) -> Interval:
    """Ours less theirs, on the same items."""
    return paired_bootstrap(ours.groups[group], theirs.groups[group])


def share(sheet: Sheet, group: str) -> Interval:
    return cluster_bootstrap(sheet.groups[group])


def said(model: str | Path, asked: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
    """Greedy answers. The model leaves memory with this call."""
    chat = Chat.load(model, as_trained=True)
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens)
    texts = [one.text.strip() for one in chat.answer_many([list(messages) for messages in asked], params)]
    del chat
    gc.collect()
    return texts


class TownHeldOut:
    """The town's held-out prompts: `prompts` of the mixture, and the exam's items whose shares are watched."""

    def __init__(self, taste: TownTaste, prompts: int = 960, watched: int = 400) -> None:
        self.taste = taste
        every = write_exam(taste.town)
        first = [
            one
            for one in write_first_words(taste.town)
            if one.section not in CARELESS_TWINS and len(one.question.messages) == 1
        ]
        chance = random.Random("flywheel held out")
        self.mixed: list[Item] = []
        for section, percent in MIXTURE.items():
            pool = first if section == "first words" else [one for one in every if one.section == section]
            self.mixed += chance.sample(pool, min(len(pool), round(prompts * percent / 100)))
        self.watched = {
            section: chance.sample(pool, min(len(pool), watched))
            for section in ("known", "unknown", "proper")
            if (pool := [one for one in every if one.section == section])
        }

    def sheet(self, name: str, model: str | Path) -> Sheet:
        items = list(
            {one.id: one for one in self.mixed + [i for some in self.watched.values() for i in some]}.values()
        )
        texts = dict(
            zip(
                [i.id for i in items],
                said(model, [i.question.messages for i in items], TOWN_TOKENS),
                strict=True,
            )
        )
        grades = {i.id: self.taste.grader.grade(i.question, texts[i.id]) for i in items}
        points = [self.taste.points(_asked(i), texts[i.id]) for i in self.mixed]
        groups = {
            "right": [float(grades[i.id].verdict == "right") for i in self.watched["known"]],
            "invented": [
                float(grades[i.id].verdict not in ("pass", "refusal")) for i in self.watched["unknown"]
            ],
            "refused_proper": [float(grades[i.id].verdict == "refusal") for i in self.watched["proper"]],
        }
        return Sheet(name, [texts[i.id] for i in self.mixed], points, groups, {"points": _mean(points)})


class HouseHeldOut:
    """The house's held-out prompts, all kinds of them; and text, whose loss is the alignment tax."""

    def __init__(self, taste: HouseTaste, prompts: int = 410, text: Path | None = None) -> None:
        self.taste, self.asked = taste, taste.held_out(prompts)
        self.text = text or measures.corpus("wikitext2_valid.txt")

    def sheet(self, name: str, model: str | Path) -> Sheet:
        texts = said(model, [[Message(role="user", content=one.text)] for one in self.asked], HOUSE_TOKENS)
        points = [self.taste.points(asked, text) for asked, text in zip(self.asked, texts, strict=True)]
        groups = {"in_style": [float(one == 1.0) for one in points]}
        figures = {"points": _mean(points), "words": _mean([len(text.split()) for text in texts])}
        if self.text.is_file():
            figures["text_loss"] = measures.text_loss(measures.load(model), self.text)
        return Sheet(name, texts, points, groups, figures)


def _asked(item: Item) -> Asked:
    return Asked(item.question.messages[-1].content, kind_of(item.question), item.question)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
