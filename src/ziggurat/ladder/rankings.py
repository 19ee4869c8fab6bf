"""One round's comparisons: learned from or held out, and the truth behind them where labellers are simulated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import ClassVar, Generic, TypeVar

from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.records import Comparison, Message
from ziggurat.stages.report_card import KindOfPair

OTHER_KIND = "something else"

C = TypeVar("C")
"""A source of random numbers."""


@dataclass(frozen=True)
class Labeller(ABC, Generic[C]):
    """A simulated labeller, who ranks by the points of completions and sometimes errs."""

    name: str
    noise: float
    """The scale of the errors on each completion's points; 0 never errs."""
    tie_width: ClassVar[float]
    """Points nearer than this are called equal, before noise."""

    @abstractmethod
    def error(self, chance: C) -> float:
        """A draw of the error, of scale 1."""

    @abstractmethod
    def right_order(self, gap: float) -> float:
        """The probability that two completions whose points differ by `gap` are ranked in their order."""

    def rank(self, chance: C, taste: Sequence[float]) -> list[int]:
        """Ranks (1 best) of completions with these points; neighbours whose points differ by less than `tie_width` are
        tied."""
        seen = [points + self.noise * self.error(chance) for points in taste]
        order = sorted(range(len(taste)), key=lambda i: -seen[i])
        ranks = [1] * len(taste)
        for place, (before, i) in enumerate(pairwise(order), start=2):
            ranks[i] = ranks[before] if abs(taste[i] - taste[before]) < self.tie_width else place
        return ranks


@dataclass(frozen=True)
class Truth:
    """What is known of simulated labellers."""

    taste: Callable[[Comparison], Sequence[float]]
    """Points of each completion, without noise."""
    kind_of_pair: KindOfPair
    """(comparison, index of the better completion, index of the worse one) -> kind, None for no kind."""
    right_order: Callable[[float, str], float]
    """(difference in points, labeller) -> probability that this labeller orders the pair by its points."""

    def labelling_ceiling(self, comparisons: Sequence[Comparison]) -> float:
        """The best accuracy that any scorer can expect against these labels; 1 without an untied pair."""
        expected = []
        for one in comparisons:
            taste = self.taste(one)
            for i in range(len(taste)):
                for j in range(i):
                    if one.ranks[i] != one.ranks[j]:
                        expected.append(self.right_order(abs(taste[i] - taste[j]), str(one.labeller)))
        return sum(expected) / len(expected) if expected else 1.0

    def accuracy(
        self, comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]]
    ) -> dict[str, Interval]:
        """Accuracy of a reward model's scores against the noise-free points, by kind; intervals over prompts."""
        hits: dict[str, list[float]] = {}
        clusters: dict[str, list[str]] = {}
        for one, rewards in zip(comparisons, scores, strict=True):
            taste = self.taste(one)
            for i, j in permutations(range(len(taste)), 2):
                if taste[i] > taste[j]:
                    kind = self.kind_of_pair(one, i, j) or OTHER_KIND
                    hits.setdefault(kind, []).append(float(rewards[i] > rewards[j]))
                    clusters.setdefault(kind, []).append(one.id)
        return {kind: cluster_bootstrap(hits[kind], clusters[kind]) for kind in sorted(hits)}


@dataclass(frozen=True)
class Rankings:
    """The comparisons of one round."""

    comparisons: list[Comparison]
    held_out: Sequence[bool]
    """Per comparison: whether it belongs to the report card and is not learned from."""
    truth: Truth | None = None

    def take(self, *, held_out: bool) -> list[Comparison]:
        return [one for one, held in zip(self.comparisons, self.held_out, strict=True) if held is held_out]


@dataclass(frozen=True)
class ToRank(Generic[C]):
    """One prompt whose completions wait for a simulated labeller."""

    prompt: Sequence[Message]
    own: list[str]
    """Completions of the policy."""
    added: list[str]
    """Completions that the world adds."""
    chance: C
    """Draws the labeller's errors."""


def label_round(
    waiting: Mapping[str, ToRank[C]],
    labellers: Sequence[Labeller[C]],
    points: Callable[[str, str], float],
    *,
    source: str,
    policy: str,
    added_as: str,
    kind_of_pair: KindOfPair,
    held_out: Callable[[str], bool],
) -> Rankings:
    """The comparison of every prompt with two completions or more; the labellers take turns.

    `waiting` by comparison id; `points` of (comparison id, completion); `added_as`: what `sampling.origins` calls an
    added completion; `held_out`: whether a comparison belongs to the report card.
    """
    comparisons = []
    for i, (identity, one) in enumerate(waiting.items()):
        completions, labeller = one.own + one.added, labellers[i % len(labellers)]
        if len(completions) < 2:
            continue
        comparisons.append(
            Comparison(
                id=identity,
                prompt=list(one.prompt),
                completions=list(completions),
                ranks=labeller.rank(one.chance, [points(identity, text) for text in completions]),
                labeller=labeller.name,
                policy=policy,
                sampling={"origins": ["policy"] * len(one.own) + [added_as] * len(one.added)},
                source=source,
            )
        )
    by_name = {labeller.name: labeller for labeller in labellers}
    truth = Truth(
        lambda one: [points(one.id, str(text)) for text in one.completions],
        kind_of_pair,
        lambda gap, name: by_name[name].right_order(gap),
    )
    return Rankings(comparisons, [held_out(one.id) for one in comparisons], truth)
