"""Which texts of an exam are in a text: runs of 13 words that both hold. A Chinese character is a word.

Source: GPT-3, arXiv:2005.14165, appendix C. Shorter texts are looked for as a whole, down to SHORTEST words; below that
two texts are alike by chance. What many items share (the wording of a rule that made them) says nothing about one of
them, and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ziggurat.store.words import is_cjk, runs

N = 13
SHORTEST = 8
"""Words of a text that can be looked for."""
SHARED = 0.1
"""A run of words that more than this share of the items hold (and more than two) is their common wording."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


def words_of(text: str) -> list[str]:
    """Words as they are compared: runs of letters or digits without case and accents, and single Chinese characters."""
    return [word for run in runs(text) for word in (run if is_cjk(run) else (run,))]


def grams(words: Sequence[str], n: int = N) -> Iterator[tuple[str, ...]]:
    """Every run of n words."""
    return (tuple(words[i : i + n]) for i in range(len(words) - n + 1))


class Overlap:
    """Looks for the texts of many items at once.

    judged: the items that are long enough to be looked for, and hold more than common wording. found: those of which a
    text that was read holds a part.
    """

    def __init__(self, items: Mapping[str, Iterable[str]]) -> None:
        """`items`: the texts of each item, by its key."""
        kept: dict[tuple[str, ...], set[str]] = {}
        for key, texts in items.items():
            for text in texts:
                words = words_of(text)
                n = min(N, len(words))
                if n >= SHORTEST:
                    for gram in grams(words, n):
                        kept.setdefault(gram, set()).add(key)
        many = max(2, int(SHARED * len(items)))
        self._keys = {gram: keys for gram, keys in kept.items() if len(keys) <= many}
        self.judged: set[str] = {key for keys in self._keys.values() for key in keys}
        self.found: set[str] = set()
        self._ids: dict[str, int] = {}
        for gram in self._keys:
            for word in gram:
                self._ids.setdefault(word, len(self._ids) + 1)
        self._hashes = {
            n: np.sort(np.array([self._hash(gram) for gram in self._keys if len(gram) == n], dtype=np.uint64))
            for n in Counter(map(len, self._keys))
        }

    def read(self, text: str) -> None:
        """Look for every item in a text; what is there is added to `found`.

        Words become numbers and each run of n a hash, all by numpy; only runs whose hash is known are compared.
        """
        words = words_of(text)
        numbers = np.array([self._ids.get(word, 0) for word in words], dtype=np.uint64)
        for n, known in self._hashes.items():
            if len(words) < n:
                continue
            hashes = rolling(numbers, n)
            for at in np.flatnonzero(np.isin(hashes, known)):
                self.found |= self._keys.get(tuple(words[at : at + n]), set())

    def _hash(self, gram: tuple[str, ...]) -> int:
        return int(rolling(np.array([self._ids[word] for word in gram], dtype=np.uint64), len(gram))[0])


def rolling(numbers: NDArray[np.uint64], n: int) -> NDArray[np.uint64]:
    """A hash of each n neighbours, modulo 2^64."""
    total = np.zeros(len(numbers) - n + 1, dtype=np.uint64)
    for j in range(n):
        total = total * _BASE + numbers[j : j + len(total)]
    return total
