"""1 if the answer holds a right one (`all: true`: each of them) and, if `not` is given, none of those.

Compared as whole words of normalised text (common.py), so that "cat" is not in "category"; Chinese has no blanks
between words and is compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, normalised, targets_of
from ziggurat.store.words import CJK


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: a text or several. `settings.not`: texts that must not be there, or the row's field of them.

    >>> mark(["It is Paris, of course."], Item(id="1", target="Paris"), {}).scores["score"]
    1.0
    """
    wanted = targets_of(item.target)
    barred = settings.get("not", [])
    if isinstance(barred, str):
        barred = item.row.get(barred, [])

    def one(answer: str) -> Mark:
        text = normalised(answer, settings)
        there = [holds(text, normalised(word, settings)) for word in wanted]
        right = all(there) if settings.get("all", False) else any(there)
        wrong = [word for word in targets_of(barred) if holds(text, normalised(word, settings))]
        missing = [word for word, found in zip(wanted, there, strict=True) if not found]
        why = (
            f"holds {wrong[0]}"
            if wrong
            else ""
            if right
            else f"lacks {missing[0] if missing else 'a target'}"
        )
        return Mark({"score": float(right and not wrong)}, why)

    return averaged(answers, one)


def holds(text: str, word: str) -> bool:
    """Whether normalised text holds a word or phrase, as whole words; a Chinese neighbour is no part of a word."""
    inside = rf"[^\W{CJK}]"
    before = f"(?<!{inside})" if re.match(inside, word) else ""
    after = f"(?!{inside})" if re.search(f"{inside}$", word) else ""
    return bool(word) and re.search(before + re.escape(word) + after, text) is not None
