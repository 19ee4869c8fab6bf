"""The texts nearest to a question: by words (BM25), or by meaning where an encoder is installed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ziggurat.errors import ZigguratError
from ziggurat.store.words import index_words

K1, B = 1.2, 0.75
ENCODER = "minilm"


class Ranked(NamedTuple):
    place: int
    """In the list of texts."""
    score: float
    """0 to 1."""


def by_words(question: str, texts: Sequence[str], k: int, *, least: float = 0.0) -> list[Ranked]:
    """The k nearest, the nearest first: Okapi BM25, as a share of what the question itself would score.

    Chinese characters and their pairs are words (`store/words.py`).
    """
    asked, words = index_words(question), [index_words(text) for text in texts]
    if not asked or not texts:
        return []
    seen = Counter(word for each in words for word in each)
    mean = sum(map(len, words)) / len(words) or 1.0
    rare = {word: math.log(1 + (len(texts) - seen[word] + 0.5) / (seen[word] + 0.5)) for word in asked}
    best = sum(rare.values()) * (K1 + 1) / (1 + K1 * (1 - B + B * len(asked) / mean))
    found = []
    for place, each in enumerate(words):
        length = K1 * (1 - B + B * len(each) / mean)
        held = set(each)
        score = sum(rare[word] for word in asked if word in held) * (K1 + 1) / (1 + length)
        if score > 0 and score / best >= least:
            found.append(Ranked(place, min(1.0, score / best)))
    return sorted(found, key=lambda one: (-one.score, one.place))[:k]


@lru_cache(1)
def encoder() -> Any:
    """The installed encoder, or None."""
    from ziggurat.models.embed import Embedder  # imports torch

    try:
        return Embedder.load(ENCODER)
    except ZigguratError:
        return None


class Meanings:
    """Vectors of texts by an encoder, kept by key."""

    def __init__(self, most: int = 20_000) -> None:
        self._kept: dict[str, Any] = {}
        self._most = most

    def nearest(
        self, question: str, keys: Sequence[str], texts: Sequence[str], k: int, *, least: float
    ) -> list[Ranked]:
        """The k nearest by the cosine of their vectors."""
        model = encoder()
        new = [i for i, key in enumerate(keys) if key not in self._kept]
        if len(self._kept) + len(new) > self._most:
            self._kept.clear()
            new = list(range(len(keys)))
        if new:
            for i, vector in zip(new, model.embed([texts[i] for i in new]), strict=True):
                self._kept[keys[i]] = vector
        asked = model.embed([question])[0]
        scores = [float(self._kept[key] @ asked) for key in keys]
        order = sorted(range(len(keys)), key=lambda i: (-scores[i], i))[:k]
        return [Ranked(i, scores[i]) for i in order if scores[i] >= least]
