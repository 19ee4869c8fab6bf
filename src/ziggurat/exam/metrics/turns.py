"""Dialogues: the share of the judged turns that pass all of their checks.

A turn is judged where it has `expect`. `score` is the share of judged turns; `whole` is 1 where all pass; every
`label` of turns is a score of its own. The answers are those of turns without a given `assistant`, in order.
A check of kind `earlier` compares with the answers of the same session only.

    {"turns": [{"user": "I am Ida.", "assistant": "Hello, Ida."},
               {"user": "My name?", "expect": [{"kind": "contains", "values": ["Ida"]}], "label": "name"}]}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import DataError
from ziggurat.exam.item import Item, Mark
from ziggurat.exam.metrics.checks import failed


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    Raises:
        DataError: the row has another number of turns to answer than there are answers, or no judged turn.
    """
    del settings
    turns = item.row["turns"]
    asked = sum("assistant" not in turn for turn in turns)
    if asked != len(answers):
        raise DataError(f"row {item.id} has {asked} turns to answer, and {len(answers)} answers came.")
    waiting = iter(answers)
    earlier: dict[str, list[str]] = defaultdict(list)
    passed: list[float] = []
    labels: dict[str, list[float]] = defaultdict(list)
    first = ""
    for number, turn in enumerate(turns, start=1):
        answer = turn["assistant"] if "assistant" in turn else next(waiting)
        before = earlier[turn.get("session", "")]
        if "expect" in turn and "assistant" not in turn:
            why = next((w for check in turn["expect"] if (w := failed(answer, check, before))), "")
            passed.append(float(not why))
            labels[turn.get("label", "")].append(passed[-1])
            first = first or (f"turn {number} {why}" if why else "")
        before.append(answer)
    if not passed:
        raise DataError(f"row {item.id} has no turn with `expect`.")
    scores = {"score": sum(passed) / len(passed), "whole": float(all(passed))}
    scores |= {name: sum(values) / len(values) for name, values in labels.items() if name}
    return Mark(scores, first)
