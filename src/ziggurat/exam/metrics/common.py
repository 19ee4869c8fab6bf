"""What metrics share: the mean over several answers, right answers as a list, text as it is compared."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.exam.item import Found, Mark

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def targets_of(target: Any) -> list[str]:
    """The right answers, as text: a list of them, or the only one."""
    if isinstance(target, list | tuple):
        return [str(one) for one in target]
    return [] if target is None else [str(target)]


def normalised(text: str, settings: Mapping[str, Any]) -> str:
    """Text as it is compared: NFKC, trimmed, blanks joined; further by settings.

    `case` (true: capital letters count; default false), `punctuation` (default false: left out), `articles` (default
    true: they count; false as in SQuAD, arXiv:1606.05250), `blanks` (default true; false: all are left out),
    `first_line` (default false: the whole answer; true: only its first line that is not blank).
    """
    text = unicodedata.normalize("NFKC", text).strip()
    if settings.get("first_line", False):
        text = next((line for line in text.splitlines() if line.strip()), "")
    if not settings.get("case", False):
        text = text.casefold()
    if not settings.get("punctuation", False):
        text = "".join(" " if _is_punctuation(c) else c for c in text)
    if not settings.get("articles", True):
        text = _ARTICLES.sub(" ", text)
    return ("" if not settings.get("blanks", True) else " ").join(text.split())


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"


def averaged(answers: Sequence[str], one: Callable[[str], Mark]) -> Mark:
    """The mark of several answers to one question: means of their scores; reason and detail are the first's.

    `best` is 1 where any answer is right, given when there are several.
    """
    marks = [one(answer) for answer in answers] or [Mark({"score": 0.0}, "no answer")]
    if len(marks) == 1:
        return marks[0]
    names = dict.fromkeys(name for mark in marks for name in mark.scores)
    scores = {}
    for name in names:
        values = [mark.scores[name] for mark in marks if name in mark.scores]
        scores[name] = sum(values) / len(values)
    scores["best"] = max(mark.scores.get("score", 0.0) for mark in marks)
    return Mark(scores, marks[0].why, marks[0].detail)


def balanced(found: Sequence[Found], names: Sequence[str]) -> dict[str, Interval]:
    """`score` as the mean of two or more sides that count alike, so that one constant answer is right on one side only.

    A row belongs to the side whose name is among its scores. The interval combines those of the sides (MOVER: Zou and
    Donner 2008). Empty where a side has no row.
    """
    sides = []
    for name in names:
        rows = [one for one in found if name in one.mark.scores]
        values = [one.mark.scores["score"] for one in rows]
        sides.append(cluster_bootstrap(values, [one.cluster or one.id for one in rows]))
    if not all(side.n for side in sides):
        return {}
    value = sum(side.value for side in sides) / len(sides)
    below = math.hypot(*[side.value - side.low for side in sides]) / len(sides)
    above = math.hypot(*[side.high - side.value for side in sides]) / len(sides)
    n, clusters = sum(side.n for side in sides), sum(side.clusters for side in sides)
    return {"score": Interval(value, max(0.0, value - below), min(1.0, value + above), n, clusters)}
