"""OpenAI messages: `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}`

Our own demonstrations have this shape too; a `.jsonl` of them is read strictly, as a native file. This file reads its
relatives: in a JSON array, with further fields, with content in parts, with `function_call`, with a column `system`, or
with a `label` or `kto_tag` (then it is a rating).
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
from ziggurat.corpus.formats.common import Context, Format, as_completion, demonstration, join_turns, rating
from ziggurat.corpus.rows import Row
from ziggurat.records import Demonstration, Message, Rating


def message(value: Any) -> Message:
    if not isinstance(value, dict) or "role" not in value:
        raise Unusable("a message without a role")
    calls = value.get("tool_calls") or value.get("function_call")
    role, text = role_of(value["role"]), text_of(value.get("content"))
    reasoning = None
    if role == "assistant":
        reasoning, text = thought_and_said(text, value.get("reasoning_content") or value.get("reasoning"))
    return Message(
        role=role,
        content=text,
        reasoning=reasoning,
        weight=weight_of(value),
        tool_calls=calls_of(calls) if calls else None,
        tool_call_id=value["tool_call_id"] if isinstance(value.get("tool_call_id"), str) else None,
        name=value["name"] if isinstance(value.get("name"), str) and value["name"] else None,
    )


def messages(value: Any) -> list[Message]:
    return [message(item) for item in value]


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)


def _turns(row: Row) -> list[Message]:
    return messages(row["messages"] if "messages" in row else row["conversations"])


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    yield demonstration(_turns(row), context, row)


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    *prompt, answer = join_turns(_turns(row))
    yield rating(prompt, as_completion([answer]), row)


def _is_openai(row: Row) -> bool:
    return is_messages(row.get("messages")) or is_messages(row.get("conversations"))


OPENAI_RATING = Format(
    "openai messages with a label",
    lambda row: _is_openai(row) and label_name(row) is not None,
    ratings=_ratings,
)
OPENAI = Format(
    "openai messages", lambda row: _is_openai(row) and "chosen" not in row, demonstrations=_demonstrations
)
