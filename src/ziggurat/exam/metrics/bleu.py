"""BLEU of one answer against its references: modified n-gram precision up to 4 words, with the brevity penalty.

Equal to sacrebleu: `score` to its sentence_bleu, `corpus` to its corpus_bleu, both with its "exp" smoothing (an order
without a match counts half of what the last such order counted). Words by its 13a rule; a Chinese character is a word,
as in its zh rule. Sources: Papineni et al., "BLEU" (ACL 2002); Post, arXiv:1804.08771.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of
from ziggurat.store.words import CJK

ORDER = 4
_CHINESE = re.compile(rf"([{CJK}\u3000-\u303f\uff00-\uffef])")
_SPLITS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""The rule "13a" of the mteval script: signs are words, but not a point or comma inside a number."""


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: a reference, or several. Settings: `case: false` compares without capital letters."""

    def words(text: str) -> list[str]:
        return words_of(text if settings.get("case", True) else text.casefold())

    references = [words(one) for one in targets_of(item.target)]

    def one(answer: str) -> Mark:
        counts = statistics(words(answer), references)
        return Mark({"score": score(counts, effective=True)}, "", {"counts": counts})

    return averaged(answers, one)


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> Mapping[str, float]:
    """`corpus`: BLEU of all answers together."""
    del settings
    counts = [one.mark.detail["counts"] for one in found if "counts" in one.mark.detail]
    return {"corpus": score([sum(column) for column in zip(*counts, strict=True)])} if counts else {}


def words_of(text: str) -> list[str]:
    text = " " + _CHINESE.sub(r" \1 ", text) + " "
    for pattern, spaced in _SPLITS:
        text = pattern.sub(spaced, text)
    return text.split()


def statistics(words: Sequence[str], references: Sequence[Sequence[str]]) -> list[int]:
    """[length, nearest reference's length, matches of 1..4 words, n-grams of 1..4 words].

    A match counts at most as often as in the reference that has it most often (clipping); of two references that are
    equally near in length the shorter counts.
    """
    nearest = min((len(one) for one in references), key=lambda n: (abs(n - len(words)), n), default=0)
    matches, totals = [], []
    for n in range(1, ORDER + 1):
        given = _grams(words, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _grams(reference, n)
        matches.append((given & most).total())
        totals.append(given.total())
    return [len(words), nearest, *matches, *totals]


def score(counts: Sequence[int], *, effective: bool = False) -> float:
    """BLEU from 0 to 1 of `statistics`. An order for which the answer is too short is left out with `effective`, and
    makes 0 without."""
    length, nearest = counts[0], counts[1]
    logs: list[float] = []
    halves = 1
    for right, total in zip(counts[2 : 2 + ORDER], counts[2 + ORDER :], strict=True):
        if total == 0:
            break
        if right == 0:
            halves *= 2
        logs.append(math.log(right / total if right else 1 / (halves * total)))
    if not any(counts[2 : 2 + ORDER]) or (len(logs) < ORDER and not effective):
        return 0.0
    brevity = 1.0 if length >= nearest else math.exp(1 - nearest / length)
    return brevity * math.exp(sum(logs) / len(logs))


def _grams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
