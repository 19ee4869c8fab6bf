"""The worth of samples: fits the model of reliability to them, flags people, gives each record its weight.

A person is put into quarantine who is

    inverted    more often wrong than right, with a probability above SURE
    unreliable  as good as chance: at least LEAST labels or gold answers, reliability below 0.6, upper bound below 0.7
    longest     takes the longer answer nearly always, and much more often than the others do
    first       takes the answer on the left nearly always, though the sides are drawn
    flood       of end users: many times the judgements of the typical person
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from ziggurat.files import to_json
from ziggurat.flywheel.dataset.samples import Sample
from ziggurat.flywheel.worth.features import PENALTY, WIDTH, features, text_of
from ziggurat.flywheel.worth.reliability import PRIOR, Labels, fit

LEAST = 8
"""Pairs or labels below which a habit is no evidence."""
OWN_TEXT = ("rewrite", "edit", "answer", "demonstration")
"""Comparisons with a text that the person wrote: worth as much as the person, and no evidence about common taste."""
SURE = 0.8
HABIT, CHANCE_OF_HABIT = 0.9, 0.01
FLOOD, FLOOD_LEAST, FLOOD_PEOPLE = 5, 50, 4


@dataclass(frozen=True, kw_only=True)
class Person:
    """What is known about one person's labels."""

    labels: int
    gold: tuple[float, float] = (0, 0)
    """Right and wrong answers to known items."""
    reliability: float
    low: float
    high: float
    flags: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "labels": self.labels,
            "gold_right": self.gold[0],
            "gold_wrong": self.gold[1],
            "reliability": round(self.reliability, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
            "flags": list(self.flags),
        }


@dataclass(frozen=True)
class Assessment:
    people: dict[str, Person] = field(default_factory=dict)
    right: dict[int, float] = field(default_factory=dict)
    """By the number of a sample: the probability that its label is right, mean over its pairs."""

    @property
    def quarantined(self) -> frozenset[str]:
        return frozenset(name for name, person in self.people.items() if person.flags)


@dataclass
class _Questions:
    """Collects labels; a pair is one question whichever way round it was shown."""

    numbers: dict[str, int] = field(default_factory=dict)
    rows: list[Any] = field(default_factory=list)
    labels: list[tuple[str, int, float, float, int]] = field(default_factory=list)

    def add(self, key: str, row: Any, person: str, says: float, share: float, sample: int) -> None:
        number = self.numbers.setdefault(key, len(self.numbers))
        if number == len(self.rows):
            self.rows.append(row)
        self.labels.append((person, number, says, share, sample))


def assess(samples: Sequence[Sample], gold: Mapping[str, tuple[float, float]] | None = None) -> Assessment:
    """People and labels of these samples. `gold`: by pseudonym, known items answered right and wrong."""
    gold = gold or {}
    questions, seen = _Questions(), dict[str, Any]()

    def seen_features(question: str, text: str) -> Any:
        return seen.setdefault(to_json([question, text]), features(question, text))

    for number, one in enumerate(samples):
        if one.source in OWN_TEXT:
            continue
        if one.kind == "comparison":
            _add_pairs(questions, number, one, seen_features)
        elif one.kind == "rating":
            text = text_of(one.record["completion"])
            row = np.concatenate([np.zeros(WIDTH), seen_features(one.question, text), [1.0]])
            says = 1.0 if one.record["label"] else -1.0
            questions.add(to_json([one.prompt_key, text]), row, one.person, says, 1.0, number)
    names = sorted({person for person, *_ in questions.labels} | set(gold))
    if not names:
        return Assessment()
    labels = _labels(questions, names, gold)
    worth = fit(labels)
    right: dict[int, list[float]] = {}
    for (*_, sample), p in zip(questions.labels, worth.right, strict=True):
        right.setdefault(sample, []).append(float(p))
    own = dict(zip(names, worth.reliability, strict=True))
    for number, one in enumerate(samples):
        if one.kind == "comparison" and one.source in OWN_TEXT and one.basis == "consent":
            right[number] = [float(own.get(one.person, PRIOR[0] / sum(PRIOR)))]
    habits, counts = _habits(samples), Counter(person for person, *_ in questions.labels)
    floods = _floods(samples)
    people = {}
    for k, name in enumerate(names):
        r, low, high = float(worth.reliability[k]), float(worth.low[k]), float(worth.high[k])
        known = gold.get(name, (0, 0))
        flags = [*habits.get(name, ()), *(["flood"] if name in floods else [])]
        if float(worth.inverted[k]) > SURE:
            flags.insert(0, "inverted")
        elif counts[name] + sum(known) >= LEAST and r < 0.6 and high < 0.7:
            flags.insert(0, "unreliable")
        people[name] = Person(
            labels=counts[name], gold=known, reliability=r, low=low, high=high, flags=tuple(flags)
        )
    return Assessment(people, {number: sum(each) / len(each) for number, each in right.items()})


def _add_pairs(questions: _Questions, number: int, one: Sample, seen: Any) -> None:
    ranks = one.record["ranks"]
    texts = [text_of(completion) for completion in one.record["completions"]]
    pairs = [
        (i, j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if a < b and texts[i] != texts[j]
    ]
    for i, j in pairs:
        first, second = sorted((texts[i], texts[j]))
        row = np.concatenate([seen(one.question, first) - seen(one.question, second), np.zeros(WIDTH), [0.0]])
        key = to_json([one.prompt_key, first, second])
        questions.add(key, row, one.person, 1.0 if texts[i] == first else -1.0, 1.0 / len(pairs), number)


def _labels(questions: _Questions, names: Sequence[str], gold: Mapping[str, tuple[float, float]]) -> Labels:
    place = {name: k for k, name in enumerate(names)}
    person, question, says, share = (
        zip(*((place[p], q, s, c) for p, q, s, c, _ in questions.labels), strict=True)
        if questions.labels
        else ((), (), (), ())
    )
    penalty = np.concatenate([PENALTY, PENALTY, [1.0]])
    X = np.array(questions.rows) if questions.rows else np.zeros((0, 2 * WIDTH + 1))
    if len(X):
        spread = X.std(axis=0)
        spread[-1] = 1.0  # the base rate of thumbs
        used = spread > 1e-9
        X, penalty = X[:, used] / spread[used], penalty[used]
    known = np.array([gold.get(name, (0, 0)) for name in names], dtype=np.float64).reshape(-1, 2)
    return Labels(
        person=np.array(person, dtype=np.int64),
        question=np.array(question, dtype=np.int64),
        says=np.array(says, dtype=np.float64),
        share=np.array(share, dtype=np.float64),
        features=X,
        penalty=penalty,
        people=len(names),
        gold_right=known[:, 0],
        gold_wrong=known[:, 1],
    )


def _habits(samples: Sequence[Sample]) -> dict[str, list[str]]:
    """People who take the longer answer, or the one on the left, nearly always."""
    chosen: dict[str, dict[str, list[bool]]] = {"longest": {}, "first": {}}
    for one in samples:
        if one.kind != "comparison" or one.source in OWN_TEXT:
            continue
        ranks, texts = one.record["ranks"], [text_of(c) for c in one.record["completions"]]
        best = ranks.index(min(ranks))
        if ranks.count(min(ranks)) > 1:
            continue
        longest = max(map(len, texts))
        if [len(text) for text in texts].count(longest) == 1:
            chosen["longest"].setdefault(one.person, []).append(len(texts[best]) == longest)
        if len(ranks) == 2 and one.shown and set(one.shown) == set(one.ids):
            chosen["first"].setdefault(one.person, []).append(one.ids[best] == one.shown[0])
    found: dict[str, list[str]] = {}
    for habit, people in chosen.items():
        for person, times in people.items():
            others = [t for other, each in people.items() if other != person for t in each]
            usual = max(0.5, (sum(others) + 1) / (len(others) + 2)) if others else 0.5
            taken = sum(times)
            if (
                len(times) >= LEAST
                and taken >= HABIT * len(times)
                and at_least(taken, len(times), usual) < CHANCE_OF_HABIT
            ):
                found.setdefault(person, []).append(habit)
    return found


def at_least(k: int, n: int, p: float) -> float:
    """The binomial probability of k or more of n. By hand: 3 or more of 3 at 0.5 is 0.125."""
    return sum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def _floods(samples: Sequence[Sample]) -> set[str]:
    """End users with many times the judgements of the typical one; labelling is work, and no flood."""
    counts = Counter({person: len(ids) for person, ids in _judged(samples).items()})
    if len(counts) < FLOOD_PEOPLE:
        return set()
    found = set()
    for person, count in counts.items():
        usual = median(n for other, n in counts.items() if other != person)
        if count >= FLOOD_LEAST and count > FLOOD * max(1, usual):
            found.add(person)
    return found


def _judged(samples: Sequence[Sample]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for one in samples:
        if one.basis == "consent":
            found.setdefault(one.person, set()).add(one.judgement_id)
    return found
