"""A free answer graded by a judge: its grade from 1 to 10 as a score from 0 to 1.

Settings: `judge`, a name as `ziggurat judge` takes it (`--judge` of the command sets it); `reference`, the field of the
row with a right answer that the judge may read (default: `reference`). An answer whose grade cannot be read scores 0,
and the mark says so. Of several answers the mean counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.judges.judge import HIGHEST, LOWEST, AnyJudge, Case
from ziggurat.records import Message


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """Raises UsageError where no judge is named."""
    name = settings.get("judge")
    if not name:
        raise UsageError("This task is graded by a judge; name one with --judge, such as --judge smollm2.")
    reference = item.row.get(str(settings.get("reference", "reference")))
    row = {**item.row, "target": item.target} | ({"reference": reference} if reference else {})
    before = item.messages or (Message(role="user", content=item.raw),)
    grades = _judge(str(name)).grade([Case(item.id, tuple(before), answer, row) for answer in answers])
    values = [0.0 if one.value is None else (one.value - LOWEST) / (HIGHEST - LOWEST) for one in grades]
    unread = sum(one.value is None for one in grades)
    return Mark(
        scores={"score": sum(values) / len(values) if values else 0.0},
        why=f"{unread} of {len(grades)} grades not read" if unread else "",
        detail={"grades": [one.value for one in grades], "reasons": [one.said for one in grades]},
    )


def basis(settings: Mapping[str, Any]) -> str:
    """The hash of the judge's files."""
    name = settings.get("judge")
    return _judge(str(name)).sha256 if name else ""


@lru_cache(maxsize=2)
def _judge(name: str) -> AnyJudge:
    """Opened once: it may be a model."""
    from ziggurat.exam.judges.naming import open_judge

    return open_judge(name)
