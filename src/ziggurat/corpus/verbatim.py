"""The longest run of words that a text shares, word for word, with a corpus: an index of its short runs.

Words are compared as in `overlap.py` (no case, no accents, no marks; a Chinese character is a word). The index holds 16
bytes and 4 bytes a word of the corpus; runs shorter than GRAM words are not looked for.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ziggurat.corpus.overlap import rolling, words_of

GRAM = 5
PLACES = 2_000
"""Of the places where one run of GRAM words begins, so many at most are followed further."""


class Verbatim:
    """`Verbatim(texts).runs(answer)`: for each word of the answer, how long the shared run is that begins there."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._ids: dict[str, int] = {}
        words: list[int] = []
        for text in texts:
            words += [self._ids.setdefault(word, len(self._ids) + 1) for word in words_of(text)]
            words.append(0)  # a run does not cross from one text into the next
        self._words = np.array(words, dtype=np.uint32)
        hashes = (
            rolling(self._words.astype(np.uint64), GRAM)
            if len(words) >= GRAM
            else np.zeros(0, dtype=np.uint64)
        )
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def runs(self, text: str) -> list[int]:
        """Words of the longest shared run that begins at each word of the text; 0 where it is shorter than GRAM.

        >>> Verbatim(["one two three four five six", "five six seven"]).runs("two three four five six seven")
        [5, 0, 0, 0, 0, 0]
        """
        unknown = np.iinfo(np.uint32).max
        ours = np.array([self._ids.get(word, unknown) for word in words_of(text)], dtype=np.uint32)
        found = [0] * len(ours)
        if len(ours) < GRAM:
            return found
        hashes = rolling(ours.astype(np.uint64), GRAM)
        left = np.searchsorted(self._hashes, hashes, side="left")
        right = np.searchsorted(self._hashes, hashes, side="right")
        for i in range(len(hashes)):
            if i and found[i - 1] > GRAM:
                found[i] = found[i - 1] - 1  # at least that; a longer one is looked for below
            for place in self._order[left[i] : min(right[i], left[i] + PLACES)]:
                found[i] = max(found[i], self._shared(ours[i:], int(place)))
        return found

    def _shared(self, ours: NDArray[np.uint32], place: int) -> int:
        theirs = self._words[place : place + len(ours)]
        differ = np.flatnonzero(ours[: len(theirs)] != theirs)
        length = int(differ[0]) if len(differ) else len(theirs)
        return length if length >= GRAM else 0  # an equal hash of other words


def longest(runs: list[int]) -> int:
    """The longest run."""
    return max(runs, default=0)


def covered(runs: list[int], least: int) -> float:
    """The share of words that lie in a shared run of `least` words or more."""
    inside, until = 0, 0
    for i, length in enumerate(runs):
        if length >= least:
            until = max(until, i + length)
        inside += i < until
    return inside / len(runs) if runs else 0.0
