"""Dialogues: the share of the judged turns that keep all of their rules.

A turn is judged where it has `expect`. `score` is the share of judged turns; `whole` is 1 where all pass; every
`label` of turns is a score of its own, and so is each name in a turn's `also` (rules that do not count in `score`).
The answers are those of turns without a given `assistant`, in order.
Settings: `main: whole` makes `whole` the score (and the share is `turns`); `balance: [labels]` makes the task's score
the mean of the rows with each label, so that one constant answer is right on one side only.

Beside the kinds of `exam/rules` there is `fresh`: at most `share` (default 0.5) of the answer's 3-grams occur in an
earlier answer of the same session.

    {"turns": [{"user": "I am Ida.", "assistant": "Hello, Ida."},
               {"user": "My name?", "expect": [{"kind": "contains", "all": ["Ida"]}], "label": "name"}]}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import DataError
from ziggurat.evaluation.statistics import Interval
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics.common import balanced
from ziggurat.exam.metrics.text_facts import share_of_grams, words
from ziggurat.exam.rules import kept


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """
    Raises:
        DataError: the row has another number of turns to answer than there are answers, or no judged turn.
    """
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
            broken = [rule for rule in turn["expect"] if not _kept(answer, rule, before)]
            passed.append(float(not broken))
            labels[turn.get("label", "")].append(passed[-1])
            for name, rules in turn.get("also", {}).items():
                labels[name].append(float(all(_kept(answer, rule, before) for rule in rules)))
            first = first or (f"turn {number}: {broken[0]['kind']}" if broken else "")
        before.append(answer)
    if not passed:
        raise DataError(f"row {item.id} has no turn with `expect`.")
    scores = {"score": sum(passed) / len(passed), "whole": float(all(passed))}
    scores |= {name: sum(values) / len(values) for name, values in labels.items() if name}
    if settings.get("main") == "whole":
        scores["turns"], scores["score"] = scores["score"], scores["whole"]
    return Mark(scores, first)


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, Interval]:
    """With `balance`, the mean of its sides as the score."""
    return balanced(found, settings["balance"]) if "balance" in settings else {}


def _kept(text: str, rule: Mapping[str, Any], earlier: Sequence[str]) -> bool:
    if rule["kind"] != "fresh":
        return kept(text, rule)
    most = max((share_of_grams(text, other, 3) for other in earlier), default=0.0)
    return bool(words(text)) and most <= float(rule.get("share", 0.5))
