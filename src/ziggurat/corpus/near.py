"""Prompts that share a long beginning: InstructGPT leaves out all but one of them (arXiv:2203.02155, appendix A)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

PREFIX_CHARS = 256
"""Two different questions that begin with so many equal characters are one question asked twice."""
PREFIX_SHARE = 0.9
"""So are two whose equal beginning is this share of the longer one, if it has PREFIX_LEAST characters."""
PREFIX_LEAST = 80


def near_duplicates(order: dict[str, int]) -> set[str]:
    """Texts whose long beginning an earlier one (by `order`) has; neighbours in alphabetical order are compared."""
    gone: set[str] = set()
    kept: str | None = None
    for text in sorted(order):
        if kept is not None and _alike(kept, text):
            later = max(kept, text, key=order.__getitem__)
            gone.add(later)
            kept = min(kept, text, key=order.__getitem__)
        else:
            kept = text
    return gone


class Asked:
    """Texts that are there; what begins as one of them is found beside it in alphabetical order."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._sorted = sorted(set(texts))

    def add(self, text: str) -> None:
        at = bisect_left(self._sorted, text)
        if self._sorted[at : at + 1] != [text]:
            self._sorted.insert(at, text)

    def nearly(self, text: str) -> bool:
        """Whether another text, not this one, shares its long beginning."""
        at = bisect_left(self._sorted, text)
        after = at + (self._sorted[at : at + 1] == [text])
        beside = [*self._sorted[max(at - 1, 0) : at], *self._sorted[after : after + 1]]
        return any(_alike(text, other) for other in beside)


def _alike(one: str, other: str) -> bool:
    longest = max(len(one), len(other))
    shared = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return shared >= PREFIX_CHARS or (shared >= PREFIX_LEAST and shared >= PREFIX_SHARE * longest)
