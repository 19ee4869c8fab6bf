"""Position, length and self-preference of a judge, each with an interval and a finding.

    position         of all verdicts that name a place, the share that names the first; verdicts that change with the
                     order; unbiased: a half
    length           log-odds of winning for an answer that is much longer: the slope on (l_a - l_b) / (l_a + l_b), of a
                     logistic model with the place and, where it is known, the quality beside it; unbiased: 0
    longer_wins      where both answers are equally good: how often the longer one wins, a tie counting half; a half
    self_preference  how much more often the judge prefers its own model's answer than people (or another judge) do; 0

    P(the first wins) = sigmoid(p + w length + q quality)

All intervals are of 95 % and resample questions. A bias is `found` where the interval of 99 % leaves out the unbiased
value and the distance is at least ENOUGH: a difference that is sure and too small to matter is no finding. By
construction at most 4 of 100 reports on a judge without bias have a false finding (four figures, 1 of 100 each); this
rate was not measured.
Sources: Zheng et al. (arXiv:2306.05685), section 3.3; Dubois et al., "Length-Controlled AlpacaEval" (arXiv:2404.04475)
for the logistic model. Left out: a taste for certain words or forms; what a judge thinks of wrong facts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ziggurat.evaluation.bradley_terry import Battle, fit
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.judges.judge import AnyJudge, Compared, Pair, both_orders, unread

ENOUGH = {"position": 0.05, "length": 0.3, "longer_wins": 0.05, "self_preference": 0.05}
FEWEST = 10
"""Pairs from which on a figure can be a finding."""
RESAMPLES = 2_000
SURE = 0.99
UNBIASED = {"position": 0.5, "length": 0.0, "longer_wins": 0.5, "self_preference": 0.0}


@dataclass(frozen=True)
class Figure:
    """One measure of bias. `sure`: its interval of 99 %, by which a finding is decided."""

    name: str
    interval: Interval
    sure: Interval

    @property
    def found(self) -> bool:
        one, unbiased = self.sure, UNBIASED[self.name]
        if one.clusters < FEWEST or math.isnan(one.value):
            return False
        return not one.low <= unbiased <= one.high and abs(one.value - unbiased) >= ENOUGH[self.name]

    @property
    def sentence(self) -> str:
        one = self.interval
        if math.isnan(one.value):
            return f"{TITLES[self.name]}: there are no pairs to measure it."
        if one.clusters < FEWEST:
            return (
                f"{TITLES[self.name]}: only {one.clusters} different questions; at least {FEWEST} are needed."
            )
        more = one.value > UNBIASED[self.name]
        said = (MORE if more else LESS)[self.name] if self.found else NONE[self.name]
        return f"{TITLES[self.name]}: {said}"


TITLES = {
    "position": "Position",
    "length": "Length",
    "longer_wins": "Length at equal quality",
    "self_preference": "Self-preference",
}
MORE = {
    "position": "the judge prefers the answer that is shown first.",
    "length": "the judge prefers the longer answer, beyond its quality.",
    "longer_wins": "of two equally good answers the judge prefers the longer.",
    "self_preference": "the judge prefers its own model's answers more than others do.",
}
LESS = {
    "position": "the judge prefers the answer that is shown second.",
    "length": "the judge prefers the shorter answer, beyond its quality.",
    "longer_wins": "of two equally good answers the judge prefers the shorter.",
    "self_preference": "the judge prefers its own model's answers less than others do.",
}
NONE = {
    "position": "no preference for a place was found.",
    "length": "no preference for a length was found.",
    "longer_wins": "no preference for the longer of two equally good answers was found.",
    "self_preference": "no preference for its own model was found.",
}


@dataclass(frozen=True)
class BiasReport:
    """What was found about a judge. `changed`: the share of pairs whose verdict changes with the order. `right`: of the
    pairs of known unequal quality, the share where both orders prefer the better answer."""

    judge: str
    pairs: int
    unread: int
    changed: Interval
    second: int
    ties: int
    right: Interval
    figures: tuple[Figure, ...]

    @property
    def found(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.figures if one.found)

    def to_dict(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "pairs": self.pairs,
            "unread_replies": self.unread,
            "changed_with_the_order": self.changed.to_dict(),
            "right": self.right.to_dict(),
            "found": list(self.found),
            "figures": {
                one.name: one.interval.to_dict()
                | {"unbiased": UNBIASED[one.name], "found": one.found, "sentence": one.sentence}
                for one in self.figures
            },
        }

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(measure, value with interval, unbiased value, finding), for a table."""
        made = [("changed with the order", self.changed.percent(), "0 %", "")]
        made.append(("right where one is better", self.right.percent(), "100 %", ""))
        for one in self.figures:
            shown = _shown(one.interval) if one.name == "length" else one.interval.percent()
            unbiased = UNBIASED[one.name]
            expected = f"{unbiased:g}" if one.name == "length" else f"{100 * unbiased:g} %"
            made.append((TITLES[one.name].lower(), shown, expected, "found" if one.found else ""))
        return made


def measure(
    judge: AnyJudge, pairs: Sequence[Pair], reference: Mapping[str, float] | None = None
) -> BiasReport:
    """Ask the judge about every pair in both orders. `reference`: by the id of a pair, how much others prefer a (1, 0.5
    or 0), for self-preference; default: the pair's own quality where it is known."""
    return report(judge.name, judge.model, both_orders(judge, pairs), reference)


def report(
    name: str, model: str, found: Sequence[Compared], reference: Mapping[str, float] | None = None
) -> BiasReport:
    """The report on verdicts that are there already."""
    read = [one for one in found if one.read]
    known = [one for one in read if one.pair.quality]
    figures = [position(read), *length(read), self_preference(model, read, reference or _own(read))]
    return BiasReport(
        judge=name,
        pairs=len(found),
        unread=unread(found),
        changed=_mean([one.changed for one in read], read),
        second=sum(choice.place == "second" for one in read for choice in (one.there, one.back)),
        ties=sum(choice.place == "tie" for one in read for choice in (one.there, one.back)),
        right=_mean([one.winner == ("a" if (one.pair.quality or 0) > 0 else "b") for one in known], known),
        figures=tuple(figures),
    )


def position(read: Sequence[Compared]) -> Figure:
    """The share of the first place among verdicts that name one."""
    firsts, whose = [], []
    for one in read:
        for choice in (one.there, one.back):
            if choice.place != "tie":
                firsts.append(float(choice.place == "first"))
                whose.append(_cluster(one))
    return _figure("position", firsts, whose)


def length(read: Sequence[Compared]) -> list[Figure]:
    """The slope on length, and the share of wins of the longer of two equally good answers."""
    longer: list[float] = []
    kept: list[str] = []
    for one in read:
        sizes = len(one.pair.a), len(one.pair.b)
        if one.pair.quality == 0 and _share(*sizes) > SAME_LENGTH and one.score is not None:
            longer.append(one.score if sizes[0] > sizes[1] else 1 - one.score)
            kept.append(_cluster(one))
    return [Figure("length", *_slope(read)), _figure("longer_wins", longer, kept)]


SAME_LENGTH = 0.1
"""|l_a - l_b| / (l_a + l_b) up to which two answers are about equally long."""


def self_preference(model: str, read: Sequence[Compared], reference: Mapping[str, float]) -> Figure:
    """The judge's preference for the answers of its own model, less the reference's, over the same pairs."""
    ours, theirs, kept = [], [], []
    for one in read:
        mine = [who == model for who in one.pair.models] if model else [False, False]
        if mine[0] != mine[1] and one.pair.id in reference and one.score is not None:
            said = reference[one.pair.id]
            ours.append(one.score if mine[0] else 1 - one.score)
            theirs.append(said if mine[0] else 1 - said)
            kept.append(_cluster(one))
    return _figure("self_preference", [a - b for a, b in zip(ours, theirs, strict=True)], kept)


def _figure(name: str, values: Sequence[float], clusters: Sequence[str]) -> Figure:
    return Figure(
        name, cluster_bootstrap(values, clusters), cluster_bootstrap(values, clusters, confidence=SURE)
    )


def _own(read: Sequence[Compared]) -> dict[str, float]:
    """What the known qualities say of each pair: 1, 0.5 or 0."""
    return {
        one.pair.id: 0.5 + 0.5 * ((one.pair.quality > 0) - (one.pair.quality < 0))
        for one in read
        if one.pair.quality is not None
    }


def _slope(read: Sequence[Compared]) -> tuple[Interval, Interval]:
    """Of the logistic model, with its intervals of 95 and of 99 %, by resampled questions.

    Each order is a battle of "first" against "second": the strengths of the places are p, the weights of the covariates
    are w and q.
    """
    groups: dict[Hashable, list[Battle]] = {}
    for one in read:
        groups.setdefault(_cluster(one), []).extend(_battles(one))
    if not groups:
        nothing = Interval(math.nan, math.nan, math.nan, 0, 0)
        return nothing, nothing
    parts = list(groups.values())
    value = _weight([battle for part in parts for battle in part])
    draw = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        chosen = draw.integers(0, len(parts), size=len(parts))
        drawn.append(_weight([battle for at in chosen for battle in parts[at]]))
    low, high, lowest, highest = np.quantile(drawn, [0.025, 0.975, (1 - SURE) / 2, (1 + SURE) / 2])
    return (
        Interval(value, float(low), float(high), len(read), len(parts)),
        Interval(value, float(lowest), float(highest), len(read), len(parts)),
    )


def _weight(battles: Sequence[Battle]) -> float:
    return fit(battles, ridge=RIDGE).style[0]


RIDGE = 0.1
"""Of the squared coefficients, in battles: a judge that always takes the longer answer has a finite slope."""


def _battles(one: Compared) -> list[Battle]:
    sizes = len(one.pair.a), len(one.pair.b)
    x, quality = _share(*sizes, signed=True), one.pair.quality or 0.0
    there = Battle("first", "second", WON[one.there.place or "tie"], (x, quality))
    back = Battle("first", "second", WON[one.back.place or "tie"], (-x, -quality))
    return [there, back]


WON: dict[str, Any] = {"first": "a", "second": "b", "tie": "tie"}


def _share(a: int, b: int, *, signed: bool = False) -> float:
    if a + b == 0:
        return 0.0
    return (a - b if signed else abs(a - b)) / (a + b)


def _mean(values: Sequence[float | bool], of: Sequence[Compared]) -> Interval:
    return cluster_bootstrap([float(value) for value in values], [_cluster(one) for one in of])


def _cluster(one: Compared) -> str:
    return one.pair.cluster or one.pair.id


def _shown(one: Interval) -> str:
    return "no data" if math.isnan(one.value) else f"{one.value:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"


def with_quality(pairs: Sequence[Pair], preferred: Mapping[str, float]) -> list[Pair]:
    """The pairs with what people say as their quality: 1 they prefer a, 0 they prefer b, 0.5 neither."""
    return [
        replace(pair, quality=2 * preferred[pair.id] - 1) if pair.id in preferred else pair for pair in pairs
    ]
