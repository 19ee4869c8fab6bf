"""What a draft states that its request does not: numbers, names, titles, addresses (A122).

A letter of recommendation that is asked for a post-doc and speaks of a PhD reads well and is wrong. The card marks each
such word, so that the expert's eye goes there first. It marks what is new, not what is false: a right answer to a
question is full of new facts, and a rewritten text should have none.

Compared are runs of letters and digits without case, so that `3,000` and `3000` are one number, and Chinese titles and
degrees as whole words: 博士 is not 博士后.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ziggurat.store.words import CJK, folded

TITLES = [
    "博士后",
    "博士生",
    "博士",
    "硕士生",
    "硕士",
    "本科生",
    "本科",
    "学士",
    "研究生",
    "大学生",
    "副教授",
    "教授",
    "讲师",
    "副研究员",
    "研究员",
    "院士",
    "工程师",
    "医生",
    "主任",
    "副主任",
    "经理",
    "总监",
    "律师",
    "顾问",
    "校长",
    "院长",
    "所长",
]
"""Chinese degrees and titles, the longer before those that it holds."""
_ADDRESS = re.compile(r"https?://[^\s<>()\"'，。；]+|[\w.+-]+@[\w-]+\.[\w.-]*\w")
_NUMBER = re.compile(
    r"\d[\d.,:/\-]*\d%?|\d%?|[零一二三四五六七八九十百千万亿两]+(?=[个天年月日元名篇次位岁小时分钟页件条种家])"
)
_NAMED = re.compile(r"[A-Z][\w'’&-]*(?:\s+(?:of|de|van|von|der|la|the)?\s*[A-Z][\w'’&-]*)*|[a-z]+[A-Z]\w*")
_TITLED = re.compile("|".join(sorted(TITLES, key=len, reverse=True)))
_BOOK = re.compile(r"[《「『“]([^》」』”]{1,80})[》」』”]")
_BEGINS = re.compile(rf"(?:^|[.!?:;\n\"“(•*#>-]|[{CJK}。！？：；])\s*$")
_COMMON = frozenset(
    [
        "i",
        "i'm",
        "i'd",
        "i've",
        "i'll",
        "a",
        "an",
        "the",
        "it",
        "he",
        "she",
        "we",
        "you",
        "they",
        "this",
        "that",
        "these",
        "those",
        "there",
        "here",
        "in",
        "on",
        "at",
        "to",
        "for",
        "and",
        "but",
        "or",
        "if",
        "when",
        "where",
        "what",
        "who",
        "how",
        "why",
        "yes",
        "no",
        "not",
        "dear",
        "sincerely",
        "regards",
        "best",
        "thanks",
        "please",
    ]
)
MOST = 200
"""Marks of one draft."""


class Fact(NamedTuple):
    """A place in the draft, in characters."""

    start: int
    end: int
    kind: str


def new_facts(draft: str, request: Iterable[str]) -> list[Fact]:
    """The facts of the draft that stand nowhere in the request, in order, without overlaps."""
    asked = _Asked("\n".join(request))
    found: list[Fact] = []
    for kind, match in _candidates(draft):
        start, end = asked.unknown_name(draft, match) if kind == "name" else (match.start(), match.end())
        known = start == end or (kind != "name" and asked.knows(kind, match.group(0)))
        if not known and not any(one.start < end and start < one.end for one in found):
            found.append(Fact(start, end, kind))
    return sorted(found)[:MOST]


class _Asked:
    """What the request says, ready to be asked."""

    def __init__(self, text: str) -> None:
        self.low, self.words = folded(text), _words(text)
        self.numbers = {_plain(number) for number in _NUMBER.findall(text)}
        self.titles = set(_TITLED.findall(text))

    def knows(self, kind: str, text: str) -> bool:
        if kind == "number":
            return _plain(text) in self.numbers
        return text in self.titles if kind == "title" else folded(text) in self.low

    def unknown_name(self, draft: str, match: re.Match[str]) -> tuple[int, int]:
        """From the first to the last word of a name that the request lacks. A single capital word that begins a
        sentence is no name, unless it has capitals inside."""
        parts = list(re.finditer(r"\S+", match.group(0)))
        begins = _BEGINS.search(draft[: match.start()]) is not None
        if begins and not re.search(r"[a-z][A-Z]|[A-Z]{2}", parts[0].group(0)):
            parts = parts[1:] if len(parts) == 1 or folded(parts[0].group(0)) in _COMMON else parts
        new = [part for part in parts if not self._has(part.group(0))]
        if not new:
            return match.start(), match.start()
        return match.start() + new[0].start(), match.start() + new[-1].end()

    def _has(self, word: str) -> bool:
        plain = folded(word).strip("'’&-")
        return (not word[:1].isupper() and word.islower()) or plain in self.words or plain in _COMMON


def _candidates(draft: str) -> Iterable[tuple[str, re.Match[str]]]:
    """What may be a fact; an address before the number in it."""
    for kind, pattern in (
        ("address", _ADDRESS),
        ("work", _BOOK),
        ("title", _TITLED),
        ("name", _NAMED),
        ("number", _NUMBER),
    ):
        yield from ((kind, match) for match in pattern.finditer(draft))


def _words(text: str) -> set[str]:
    found = re.findall(r"[\w'’&-]+", folded(text))
    return {word.strip("'’&-") for word in found} | {
        part for word in found for part in re.split(r"['’&-]", word)
    }


def _plain(number: str) -> str:
    """A number as it is compared: without separators of thousands."""
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", number).strip(".,:/-")
