"""The letter of a choice, read from an answer: "B", "(B)", "The answer is B.", "选B", or the choice's own text.

`mark`: one letter. `mark_set`: several are right, as in Chinese examinations: 1 for the very set, and `part`, half a
point for a part of it without a wrong one (the rule of the national examination's physics papers).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, normalised
from ziggurat.exam.metrics.contains import holds

_SAID = re.compile(
    r"(?:answer|choice|option|correct(?:\s+(?:answer|choice|option))?)\s*(?:is|:)?\s*:?\s*\(?\**([A-Z]+)(?![A-Za-z])"
    r"|(?:答案|选项|应选|故选|选择|选)\s*(?:是|为)?\s*[:：]?\s*[(（【\[]?\s*([A-Z](?:\s*[、,，和及]?\s*[A-Z])*)",
)
_ALONE = re.compile(r"(?<![A-Za-z'’])[(（【\[*]*([A-Z]+)[)）】\]*]*(?![A-Za-z'’])")

_ARTICLE = re.compile(r"\bA (?!(?:or|and|nor|is|as|because|since|seems)\b)[a-z]")
"""The word "A" before a noun."""


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: an index from 0 or a letter. `item.choices`: their texts, where the row has them.

    >>> mark(["I think (B) is right."], Item(id="1", target=1, choices=("x", "y")), {}).scores["score"]
    1.0
    """
    count = len(item.choices) or int(settings.get("count", 4))
    wanted = _index(item.target)

    def one(answer: str) -> Mark:
        given = letter_in(answer, item.choices, count)
        right = given is not None and given == wanted
        why = "no letter" if given is None else "" if right else f"{_letter(given)}, not {_letter(wanted)}"
        shown = None if given is None else _letter(given)
        return Mark({"score": float(right), "read": float(given is not None)}, why, {"answer": shown})

    return averaged(answers, one)


def mark_set(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: letters ("AC", ["A", "C"]) or indexes.

    >>> mark_set(["A and C"], Item(id="1", target="ACD"), {}).scores
    {'score': 0.0, 'part': 0.5}
    """
    given = item.target if isinstance(item.target, list | tuple) else list(str(item.target).replace(" ", ""))
    wanted = {_index(one) for one in given if one not in (",", "、")}
    count = len(item.choices) or int(settings.get("count", 4))

    def one(answer: str) -> Mark:
        said = letters_in(answer, count)
        right = said == wanted
        part = 1.0 if right else 0.5 if said and said < wanted else 0.0
        shown = "".join(_letter(i) for i in sorted(said))
        why = "" if right else f"{shown or 'no letter'}, not {''.join(_letter(i) for i in sorted(wanted))}"
        return Mark({"score": float(right), "part": part}, why, {"answer": shown})

    return averaged(answers, one)


def letter_in(answer: str, choices: Sequence[str] = (), count: int = 4) -> int | None:
    """The index of the choice that an answer names; None where it names none, or its first words name several.

    In this order: a letter after "answer is" or 选 (the last one); the answer begins with a letter; one letter alone
    among its words; the text of one choice and of no other.
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    allowed = [chr(ord("A") + i) for i in range(count)]
    said = [found for match in _SAID.finditer(text) if (found := match[1] or match[2]) in allowed]
    if said:
        return _index(said[-1])
    alone = [match[1] for match in _ALONE.finditer(text) if match[1] in allowed]
    begins = re.match(r"[(\[*]*([A-Z])(?:[)\].:,*\s]|$)", text)
    if begins and begins[1] in allowed and not (begins[1] == "A" and _ARTICLE.match(text)):
        return _index(begins[1])
    alone = [one for one in alone if one != "A"] if _ARTICLE.search(text) else alone
    if len(set(alone)) == 1:
        return _index(alone[0])
    named = [
        i
        for i, one in enumerate(choices)
        if len(one.strip()) > 1 and holds(normalised(text, {}), normalised(one, {}))
    ]
    return named[0] if len(named) == 1 else None


def letters_in(answer: str, count: int = 4) -> set[int]:
    """The indexes of all choices that an answer names: after "answer is" or 选 where it says so, else its letters."""
    text = unicodedata.normalize("NFKC", answer)
    allowed = {chr(ord("A") + i) for i in range(count)}
    said = [(match[1] or match[2]) for match in _SAID.finditer(text)]
    rest = [word for match in _ALONE.finditer(text) if set(word := match[1]) <= allowed]
    found = (
        said[-1]
        if said and set(re.findall("[A-Z]", said[-1])) <= allowed and len(said[-1]) > 1
        else "".join(rest)
    )
    return {_index(one) for one in re.findall("[A-Z]", found)}


def _index(target: Any) -> int:
    if isinstance(target, int):
        return target
    text = str(target).strip()
    return int(text) if text.isdecimal() else ord(text[:1].upper()) - ord("A")


def _letter(index: int) -> str:
    return chr(ord("A") + index) if 0 <= index < 26 else str(index)
