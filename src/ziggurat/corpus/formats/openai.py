"""OpenAI messages: `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}`

Our own demonstrations have this shape too; a `.jsonl` of them is read strictly, as a native file. What comes here is
its relatives: in a JSON array, with further fields, with content in parts, with `function_call`, or with a `label`
(then it is a rating).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ziggurat.corpus.formats.common import (
    Context,
    Format,
    Unusable,
    as_completion,
    await_answer,
    calls_of,
    demonstration,
    join_turns,
    role_of,
    text_of,
)
from ziggurat.corpus.rows import Row
from ziggurat.records import Demonstration, Message, Rating


def message(value: Any) -> Message:
    if not isinstance(value, dict) or "role" not in value:
        raise Unusable("a message without a role")
    calls = value.get("tool_calls") or value.get("function_call")
    weight = value.get("weight")
    return Message(
        role=role_of(value["role"]),
        content=text_of(value.get("content")),
        weight=None if weight is None else (1 if weight else 0),
        tool_calls=calls_of(calls) if calls else None,
        tool_call_id=value["tool_call_id"] if isinstance(value.get("tool_call_id"), str) else None,
        name=value["name"] if isinstance(value.get("name"), str) and value["name"] else None,
    )


def messages(value: Any) -> list[Message]:
    return [message(item) for item in value]


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) and "role" in v for v in value)


def _turns(row: Row) -> list[Message]:
    turns = row["messages"] if "messages" in row else row["conversations"]
    return messages(turns)


def _demonstrations(row: Row, context: Context) -> Iterator[Demonstration]:
    yield demonstration(_turns(row), context, row.get("tools") or row.get("functions"))


def _ratings(row: Row, _: Context) -> Iterator[Rating]:
    *prompt, answer = join_turns(_turns(row))
    yield Rating(prompt=await_answer(prompt), completion=as_completion([answer]), label=bool(row["label"]))


def _is_openai(row: Row) -> bool:
    return is_messages(row.get("messages")) or is_messages(row.get("conversations"))


OPENAI_RATING = Format(
    "openai messages with a label",
    lambda row: _is_openai(row) and isinstance(row.get("label"), bool | int),
    ratings=_ratings,
)
OPENAI = Format(
    "openai messages", lambda row: _is_openai(row) and "chosen" not in row, demonstrations=_demonstrations
)
