"""What can be counted in a text beyond the rules: its n-grams, what two texts share, repetitions, loops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ziggurat.exam.rules import parts


def words(text: str) -> list[str]:
    """Words in lower case; single Chinese characters."""
    return [word.lower() for word in parts.words(text)]


def grams(text: str, n: int) -> Counter[tuple[str, ...]]:
    found = words(text)
    return Counter(zip(*(found[i:] for i in range(n)), strict=False))


def share_of_grams(text: str, other: str, n: int) -> float:
    """The share of the text's n-grams that occur in the other; 0 where it has none."""
    ours, theirs = grams(text, n), grams(other, n)
    total = ours.total()
    return sum(count for gram, count in ours.items() if gram in theirs) / total if total else 0.0


def jaccard(text: str, other: str, n: int) -> float:
    """Different n-grams that both have / that either has; without n-grams, 1 for equal texts and 0 for others."""
    ours, theirs = set(grams(text, n)), set(grams(other, n))
    if not ours | theirs:
        return float(words(text) == words(other))
    return len(ours & theirs) / len(ours | theirs)


def repetition(text: str, n: int = 4) -> float:
    """The share of n-grams that an earlier place of the text has already.

    >>> round(repetition("a b c d a b c d a b c d"), 3)  # 4 different ones among 9
    0.556
    """
    found = grams(text, n)
    return 1 - len(found) / found.total() if found else 0.0


def looping(text: str) -> bool:
    """Whether the end repeats itself: two or more words three times in a row, or one line three times."""
    found = words(text)
    for size in range(2, len(found) // 3 + 1):
        if found[-size:] == found[-2 * size : -size] == found[-3 * size : -2 * size]:
            return True
    ends = parts.lines(text)[-3:]
    return len(ends) == 3 and len(set(ends)) == 1


def spread(values: Sequence[float]) -> float:
    """Standard deviation / mean (coefficient of variation); 0 for fewer than two values or a mean of 0."""
    if len(values) < 2 or not (mean := sum(values) / len(values)):
        return 0.0
    return float((sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5 / mean)
