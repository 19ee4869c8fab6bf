"""How far a text was edited: a comparison by words, and the normalised distance that the metrics count with."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import NamedTuple

from ziggurat.store.words import CJK

LIGHT = 0.1
"""An edit is light up to this distance (PRODUCT 4.3)."""
_PIECES = re.compile(rf"[{CJK}]|\s+|[^\W_{CJK}]+|.", re.DOTALL)


class Edit(NamedTuple):
    distance: float
    """Characters changed over the characters of the longer text: 0 is unchanged, 1 is another text."""
    changed: int


def edit_of(before: str, after: str) -> Edit:
    """The size of an edit. A replaced run of words counts with the longer of both sides, less what both begin and end
    with, so that `colour` for `color` is one character."""
    if before == after:
        return Edit(0.0, 0)
    changed = sum(_cost(old, new) for tag, old, new in compared(before, after) if tag != "equal")
    return Edit(round(min(1.0, changed / max(len(before), len(after))), 4), changed)


def compared(before: str, after: str) -> list[tuple[str, str, str]]:
    """(equal | replace | insert | delete, the old text, the new text), in order, by words and Chinese characters."""
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    return [(tag, "".join(old[a:b]), "".join(new[c:d])) for tag, a, b, c, d in matcher.get_opcodes()]


def _cost(old: str, new: str) -> int:
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    return max(len(old), len(new)) - begin - end
