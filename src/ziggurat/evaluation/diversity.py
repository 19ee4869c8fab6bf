"""Whether a model says different things: distinct-n, the commonest answer, the commonest ending.

Mode collapse in RLHF shows first in these three. Source of distinct-n: Li et al., arXiv:1510.03055; pooled over
all answers, it falls as answers get more, so compare only equally many answers of the same prompts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

UNIT = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]|[^\W_぀-ヿ㐀-鿿豈-﫿]+|[^\w\s]", re.UNICODE)


@dataclass(frozen=True)
class Share:
    """The commonest of several texts and which part of all it makes."""

    text: str
    share: float


def units(text: str) -> list[str]:
    """Words of alphabetic scripts, single characters of Chinese and Japanese, single marks.

    >>> units("Ada lives in 老街, no. 5")
    ['Ada', 'lives', 'in', '老', '街', ',', 'no', '.', '5']
    """
    return UNIT.findall(text)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Different n-grams / all n-grams, pooled over the texts; 0 when there are none."""
    grams: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        words = units(text)
        grams.update(zip(*(words[i:] for i in range(n)), strict=False))
    total = grams.total()
    return len(grams) / total if total else 0.0


def commonest(texts: Sequence[str]) -> Share:
    """The commonest text, blanks at its ends aside."""
    if not texts:
        return Share("", 0.0)
    text, count = Counter(t.strip() for t in texts).most_common(1)[0]
    return Share(text, count / len(texts))


def commonest_ending(texts: Sequence[str]) -> Share:
    """The commonest last three units: catches answers that differ but all close with the same words."""
    return commonest([" ".join(units(t)[-3:]) for t in texts])
