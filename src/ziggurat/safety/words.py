"""A small classifier of short texts: logistic regression over words, pairs of words and triples of Chinese characters.

It is fitted with numpy alone, and its weights are readable JSON: a word or a pair, and what it adds. It depends on the
wording and not on the meaning, and knows only wordings that are near those that it was fitted on.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ziggurat.files import read_json, write_json
from ziggurat.safety.disguises import folded

WORDS_FORMAT = 1
"""Version of the file of weights."""
BEGINNING = 300
"""Characters of a text that are read."""
MIN_COUNT = 2
"""Training texts in which a feature must occur."""
STEPS = 600
SMALLEST = 0.02
"""Weights below it are left out of the file."""
_WORD = re.compile(r"[a-z']+|[\u3400-\u9fff]|[^\sa-z\u3400-\u9fff]")


class Figures(NamedTuple):
    """On held-out texts."""

    texts: int
    positives: int
    flagged: int
    hits: int  # flagged positives

    @property
    def precision(self) -> float | None:
        return self.hits / self.flagged if self.flagged else None

    @property
    def recall(self) -> float | None:
        return self.hits / self.positives if self.positives else None


def features(text: str) -> set[str]:
    """The words of a text's beginning, their pairs, and triples of Chinese characters."""
    words = ["^", *_WORD.findall(folded(text[:BEGINNING]).casefold())]
    triples = {
        f"{a} {b} {c}"
        for a, b, c in zip(words, words[1:], words[2:], strict=False)
        if all("\u3400" <= one <= "\u9fff" or one == "^" for one in (a, b, c))
    }
    return {*words, *(f"{a} {b}" for a, b in pairwise(words)), *triples}


class WordClassifier:
    """`score` estimates the probability that a text is of the kind that it was fitted to."""

    def __init__(
        self,
        weights: dict[str, float],
        bias: float,
        threshold: float = 0.5,
        measured: dict[str, int] | None = None,
    ) -> None:
        self.weights, self.bias, self.threshold, self.measured = weights, bias, threshold, measured or {}

    def score(self, text: str) -> float:
        found = features(text)
        known = sum(self.weights.get(one, 0.0) for one in found)
        return 1 / (1 + math.exp(-(self.bias + known / math.sqrt(len(found)))))

    def flags(self, text: str) -> bool:
        return bool(text.strip()) and self.score(text) >= self.threshold

    def save(self, path: Path) -> None:
        described = {"bias": round(self.bias, 4), "threshold": self.threshold, "measured": self.measured}
        write_json(path, {**described, "weights": self.weights}, WORDS_FORMAT)

    @classmethod
    def load(cls, path: Path) -> WordClassifier:
        """
        Raises:
            RunError: the file is missing or malformed.
        """
        found = read_json(path, WORDS_FORMAT)
        return cls(found["weights"], found["bias"], found["threshold"], found["measured"])

    @classmethod
    @cache
    def packaged(cls, name: str) -> WordClassifier:
        """One of the package: `refusals` or `selfharm`."""
        text = (files("ziggurat.safety") / "data" / f"{name}.json").read_text(encoding="utf-8")
        found = json.loads(text)
        return cls(found["weights"], found["bias"], found["threshold"], found["measured"])


def fit(
    texts: Sequence[str], labels: Sequence[bool], *, strength: float, positive_weight: float = 1.0
) -> WordClassifier:
    """Least mean cross-entropy plus strength / N * |w|^2 / 2, by gradient descent with momentum. Convex: no seed."""
    found = [features(text) for text in texts]
    counts = Counter(one for some in found for one in some)
    place = {
        name: i for i, name in enumerate(sorted(one for one, count in counts.items() if count >= MIN_COUNT))
    }
    known = [sorted(place[one] for one in some if one in place) for some in found]
    columns = np.array([column for some in known for column in some], dtype=np.int64)
    row_of = np.repeat(np.arange(len(texts)), [len(some) for some in known])
    values = np.repeat([1 / math.sqrt(len(some)) for some in found], [len(some) for some in known])
    target = np.array(labels, dtype=np.float64)
    importance = np.where(target > 0, positive_weight, 1.0) / len(texts)
    weight: NDArray[np.float64] = np.zeros(len(place) + 1)  # the last one is the bias
    speed = np.zeros_like(weight)
    for _ in range(STEPS):
        logits = np.bincount(row_of, weight[columns] * values, minlength=len(texts)) + weight[-1]
        error = (1 / (1 + np.exp(-logits)) - target) * importance
        slope = np.bincount(columns, error[row_of] * values, minlength=len(place) + 1).astype(np.float64)
        slope[:-1] += strength * weight[:-1] / len(texts)
        slope[-1] = error.sum()
        speed = 0.9 * speed - 2.0 * slope
        weight = weight + speed
    kept = {name: round(float(weight[i]), 3) for name, i in place.items() if abs(weight[i]) >= SMALLEST}
    return WordClassifier(kept, float(weight[-1]))


def measure(made: WordClassifier, texts: Sequence[str], labels: Sequence[bool]) -> Figures:
    flags = [made.flags(text) for text in texts]
    hits = sum(flag and label for flag, label in zip(flags, labels, strict=True))
    return Figures(len(texts), sum(labels), sum(flags), hits)
