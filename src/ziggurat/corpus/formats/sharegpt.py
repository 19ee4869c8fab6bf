"""ShareGPT: `{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}`

With `tools` (JSON in a string) and turns `function_call` and `observation`; with `chosen` and `rejected` a
comparison; with `label` or `kto_tag` a rating. A turn with `weight` 0, or `train` or `loss` false, is not trained.
Source: the ShareGPT dumps, in the form that LLaMA-Factory documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ziggurat.corpus.formats.cells import (
    Unusable,
    calls_of,
    label_name,
    role_of,
    text_of,
    thought_and_said,
    weight_of,
)
from ziggurat.corpus.formats.common import Context, Format, as_completion, comparison, demonstration, rating
from ziggurat.corpus.rows import Row
from ziggurat.records import Comparison, Demonstration, Message, Rating


def _message(turn: Any) -> Message:
    if not isinstance(turn, dict) or "from" not in turn:
        raise Unusable("a turn without a speaker")
    role, value = role_of(turn["from"]), turn.get("value")
    if turn["from"] == "function_call":
        return Message(role=role, content="", tool_calls=calls_of(value), weight=weight_of(turn))
    reasoning, text = None, text_of(value)
    if role == "assistant":
        reasoning, text = thought_and_said(text, turn.get("reasoning_content") or turn.get("reasoning"))
    return Message(role=role, content=text, reasoning=reasoning, weight=weight_of(turn))


def _messages(row: Row) -> list[Message]:
    return [_message(turn) for turn in row["conversations"]]


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    yield demonstration(_messages(row), context, row)


def _comparisons(row: Row, context: Context) -> Iterator[Comparison]:
    answers = [as_completion([_message(row[name])]) for name in ("chosen", "rejected")]
    yield comparison(_messages(row), answers, [1, 2], context, row)


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    *prompt, answer = _messages(row)
    yield rating(prompt, as_completion([answer]), row)


def _is_sharegpt(row: Row) -> bool:
    turns = row.get("conversations")
    return isinstance(turns, list) and all(isinstance(turn, dict) and "from" in turn for turn in turns)


SHAREGPT_COMPARISON = Format(
    "sharegpt comparison",
    lambda row: _is_sharegpt(row) and bool(row.get("chosen")) and bool(row.get("rejected")),
    comparisons=_comparisons,
)
SHAREGPT_RATING = Format(
    "sharegpt rating",
    lambda row: _is_sharegpt(row) and label_name(row) is not None,
    ratings=_ratings,
)
SHAREGPT = Format("sharegpt", _is_sharegpt, demonstrations=_demonstrations)
