"""Numeric equality: the number after the last "####", else the last number of the answer.

Source of "####": GSM8K, arXiv:2110.14168. Settings: `tolerance` (default 0: relative), `first: true` (the first
number instead of the last). Thousands' commas and currency signs are read over; 1/2 and 50 % are numbers. Whether a
question asks for 25 or for 25 % is often not said, so a percentage is right with and without its sign.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.common import averaged, targets_of

_NUMBER = re.compile(
    r"(?:(?<![A-Za-z0-9.)])[-+\u2212])?(?<![\d.])\$?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:\s*/\s*\d+)?(?:\s*%)?"
)


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """`item.target`: a number, or text that holds one.

    >>> mark(["12 apples, so 3 each.\\n#### 4"], Item(id="1", target="4"), {}).scores["score"]
    1.0
    """
    wanted = [value for one in targets_of(item.target) for value in readings(one)]
    tolerance = float(settings.get("tolerance", 0.0))

    def one(answer: str) -> Mark:
        read = readings(answer, first=bool(settings.get("first", False)))
        given = read[0] if read else None
        right = any(
            math.isclose(one, value, rel_tol=max(tolerance, 1e-9), abs_tol=1e-9)
            for one in read
            for value in wanted
        )
        why = (
            ""
            if right
            else "no number"
            if given is None
            else f"{given:g}, not {wanted[0]:g}"
            if wanted
            else "no target"
        )
        return Mark({"score": float(right)}, why, {"answer": None if given is None else f"{given:g}"})

    return averaged(answers, one)


def number_in(text: str, *, first: bool = False) -> float | None:
    """The number after the last "####", else the last (or first) number of a text; None where there is none.

    >>> [number_in(t) for t in ("$1,234.50", "1/4 of it", "25%", "minus -3", "none")]
    [1234.5, 0.25, 0.25, -3.0, None]
    """
    return next(iter(readings(text, first=first)), None)


def readings(text: str, *, first: bool = False) -> list[float]:
    """That number, and of a percentage also the number before the sign: "25%" is 0.25 and 25."""
    text = unicodedata.normalize("NFKC", text).replace("\u2044", "/")
    marked = text.rpartition("####")[2] if "####" in text else ""
    for part, at in ((marked, 0), (text, 0 if first else -1)):
        if found := _NUMBER.findall(part):
            value = _value(found[at])
            return [value, value * 100] if found[at].endswith("%") else [value]
    return []


def _value(text: str) -> float:
    text = text.replace(",", "").replace("$", "").replace("\u2212", "-").strip()
    share = text.endswith("%")
    above, slash, below = text.rstrip("% ").partition("/")
    value = float(above)
    if slash:
        value = value / float(below) if float(below) else math.nan
    return value / 100 if share else value
