"""The wordings of first words: patterns of `phrases/first_words.yaml`, written out and kept apart by use.

An entry of `taught` may hold choices in brackets: "[Hello|Hi] there[!|.]" stands for four patterns. A wording that is
held out is never among them, whatever its case, spaces and marks.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import product
from typing import Any, Literal

from ziggurat.town.chance import Chance
from ziggurat.town.phrases import Language, load_table

Use = Literal["taught", "development", "exam"]
DEVELOPMENT = 3  # of each list of held-out wordings, those for development
SLOTS_ALONE = {"n", "l", "ab"}
"""A name alone, a list alone and a bare sum, as `plainly` writes them: they have one wording, which all uses share."""
_CHOICE = re.compile(r"\[([^\]]*)\]")
_SPELLING = re.compile(r"[\W_]+")


@cache
def table() -> dict[str, Any]:
    """`phrases/first_words.yaml`."""
    found: dict[str, Any] = load_table("first_words.yaml")
    return found


def expand(entry: str) -> list[str]:
    """Every pattern that an entry stands for: 'a[b|c]d' -> abd, acd."""
    parts = _CHOICE.split(entry)  # text, choices, text, choices, ..., text
    choices = [part.split("|") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in product(*choices)]


def plainly(pattern: str) -> str:
    """The pattern without case, spaces and marks, braces included: two spellings of one wording are equal."""
    return _SPELLING.sub("", pattern.lower())


@cache
def taught(kind: str, language: Language) -> tuple[tuple[str, ...], ...]:
    """The taught patterns, one group an entry: no held-out wording, no pattern twice."""
    block = table()[kind][language]
    met = {plainly(pattern) for pattern in block["held_out"]} - SLOTS_ALONE
    seen: set[str] = set()
    groups = []
    for entry in block["taught"]:
        group = [p for p in dict.fromkeys(expand(entry)) if plainly(p) not in met and p not in seen]
        seen.update(group)
        if group:
            groups.append(tuple(group))
    return tuple(groups)


def wordings(kind: str, language: Language, use: Use) -> list[str]:
    """The patterns of a kind in one of the three disjoint sets."""
    if use == "taught":
        return [pattern for group in taught(kind, language) for pattern in group]
    held_out: list[str] = table()[kind][language]["held_out"]
    return held_out[:DEVELOPMENT] if use == "development" else held_out[DEVELOPMENT:]


def draw_wording(chance: Chance, kind: str, language: Language, use: Use) -> str:
    """One pattern; taught ones by entry first, so that an entry with many choices does not hide the others."""
    if use == "taught":
        return chance.choice(chance.choice(taught(kind, language)))
    return chance.choice(wordings(kind, language, use))
