"""An integer random generator (splitmix64): the same seed gives the same bytes everywhere.

Python's and NumPy's generators may change between versions; this one is fifteen lines of integer arithmetic.
Source of the constants: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014).
Not for cryptography. A draw below n multiplies and shifts (bias below 2**-40 for the sizes used here).
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import TypeVar

T = TypeVar("T")
_MASK = (1 << 64) - 1


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Chance:
    """A stream of draws named by a seed and labels: `Chance(7, "letters", 3)` never depends on other streams."""

    def __init__(self, seed: int, *labels: str | int) -> None:
        state = _mix(seed & _MASK)
        for label in labels:
            for byte in str(label).encode("utf-8") + b"\x00":
                state = _mix((state + byte + 0x9E3779B97F4A7C15) & _MASK)
        self._state = state

    def below(self, n: int) -> int:
        """A whole number in [0, n)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        return (_mix(self._state) * n) >> 64

    def between(self, low: int, high: int) -> int:
        """A whole number in [low, high], both included."""
        return low + self.below(high - low + 1)

    def percent(self, share: int) -> bool:
        """True in `share` of 100 draws."""
        return self.below(100) < share

    def unit(self) -> float:
        """A float in [0, 1) made from 53 bits: exact in IEEE arithmetic, so the same everywhere."""
        return self.below(1 << 53) / (1 << 53)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def weighted(self, items: Sequence[tuple[T, int]]) -> T:
        """One of the items, each given with a whole-number weight."""
        draw = self.below(sum(weight for _, weight in items))
        for item, weight in items:
            draw -= weight
            if draw < 0:
                return item
        raise AssertionError("weights add up")

    def shuffle(self, items: MutableSequence[T]) -> None:
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """k different items, in random order."""
        pool = list(items)
        self.shuffle(pool)
        return pool[:k]
