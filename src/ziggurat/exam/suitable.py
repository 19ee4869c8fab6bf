"""For what is a language model suitable, and for what not: a task's description, and a model's own figures.

The two lists of eight are published; `advise` maps a description to them by keywords, in English and Chinese, and names
the words that it found. It is a rule of thumb that shows its reason, not a model: a description without any known word
gets no verdict. `table` says of each entry what a model's own exam says: abilities above chance speak for it.
Source of the lists: Yang et al., "Harnessing the Power of LLMs in Practice" (arXiv:2304.13712), sections 4 and 5.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from ziggurat.exam.leaderboard import Column, Figure
from ziggurat.product.objects import Thing

Verdict = Literal["suitable", "unsuitable", "mixed", "unknown"]
MOST_TEXT = 4_000


class Entry(Thing):
    """One of the lists. `abilities`: of exam tasks that measure whether a model can do it."""

    id: str
    suitable: bool
    title: dict[str, str]
    why: dict[str, str]
    instead: dict[str, str] = {}
    """unsuitable: what does it better."""
    abilities: list[str] = []
    words: list[str]
    """Regular expressions, in lower case, found at the beginning of any word of a description."""


class Reason(Thing):
    id: str
    suitable: bool
    title: dict[str, str]
    why: dict[str, str]
    instead: dict[str, str]
    words: list[str]
    """What of the description speaks for this entry."""


class Advice(Thing):
    verdict: Verdict
    reasons: list[Reason]
    careful: list[Reason]
    """Facts and rigorous logic: a model may be used, and its answers must be checked."""


class Line(Thing):
    """What a model's own exam says of one entry."""

    id: str
    title: dict[str, str]
    verdict: Literal["yes", "no", "unsure", "not measured"]
    tasks: list[dict[str, Any]]


@cache
def entries() -> tuple[Entry, ...]:
    return tuple(Entry.model_validate(one) for one in _lists()["entries"])


@cache
def careful() -> tuple[Entry, ...]:
    return tuple(Entry.model_validate(one) for one in _lists()["careful"])


def _lists() -> dict[str, Any]:
    text = (files("ziggurat.exam") / "suitable.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def advise(description: str) -> Advice:
    """The entries whose words occur in the description, those with most words first."""
    text = description[:MOST_TEXT].lower()
    reasons = _reasons(entries(), text)
    sides = {one.suitable for one in reasons}
    verdict: Verdict = "unknown"
    if len(sides) == 2:
        verdict = "mixed"
    elif sides:
        verdict = "suitable" if True in sides else "unsuitable"
    return Advice(verdict=verdict, reasons=reasons, careful=_reasons(careful(), text))


_BEGINS = r"(?:(?<![a-z])|(?![a-z]))"
"""A word of letters begins where no letter precedes it: "syntax" holds no "tax"."""


def _reasons(known: Sequence[Entry], text: str) -> list[Reason]:
    found = []
    for one in known:
        matches = [
            match[0].strip()
            for word in one.words
            for match in re.finditer(_BEGINS + f"(?:{word})[a-z]*", text)
        ]
        words = list(dict.fromkeys(matches))
        if words:
            kept = one.model_dump(include={"id", "suitable", "title", "why", "instead"})
            found.append(Reason(words=words, **kept))
    return sorted(found, key=lambda one: -len(one.words))


def table(columns: Sequence[Column], figures: Mapping[str, Figure]) -> list[Line]:
    """Each suitable entry, and the two that need care, by the abilities of this model: `yes` where at least half of
    their tasks are surely above chance and majority, `no` where none is, `unsure` between; a task without chance and
    majority says nothing."""
    lines = []
    for one in (*[entry for entry in entries() if entry.suitable], *careful()):
        tasks = [
            {"task": column.task, "score": figure.score, "above": above}
            for column in columns
            if column.ability in one.abilities
            and (figure := figures.get(column.task)) is not None
            and (above := above_chance(figure, column.better)) is not None
        ]
        sure = sum(bool(task["above"]) for task in tasks)
        verdict: Literal["yes", "no", "unsure", "not measured"] = "not measured"
        if tasks:
            verdict = "yes" if 2 * sure >= len(tasks) else "unsure" if sure else "no"
        lines.append(Line(id=one.id, title=one.title, verdict=verdict, tasks=tasks))
    return lines


def above_chance(figure: Figure, better: str) -> bool | None:
    """Whether the interval lies wholly above chance and above always giving the commonest answer; None: not known."""
    bars = [bar for bar in (figure.chance, figure.majority) if bar is not None]
    if not bars or figure.low is None or better != "higher":
        return None
    return figure.low > max(bars)
