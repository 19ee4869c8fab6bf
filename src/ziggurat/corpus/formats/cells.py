"""Cells of rows to the parts of records: roles, texts, labels, weights, tool calls."""

from __future__ import annotations

import json
from typing import Any, Literal

from ziggurat.corpus.rows import Row
from ziggurat.corpus.track import plain
from ziggurat.messages import parse_arguments, parse_tools, parts_of
from ziggurat.records import Message, Role, split_reasoning

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


class Unusable(Exception):
    """A row that cannot become a record; the message is the reason that is counted."""


def role_of(name: Any) -> Role:
    role = ROLES.get(str(name).strip().lower())
    if role is None:
        raise Unusable(f"unknown role {name!r}")
    return role


def text_of(value: Any) -> str:
    """A content as text: None is empty, text parts are joined, another object, list or number becomes JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        try:
            return "".join(part.text for part in parts_of(plain(value)))
        except ValueError as error:
            raise Unusable(str(error)) from None
    return json.dumps(plain(value), ensure_ascii=False)


def given(value: Any) -> bool:
    """Whether a cell holds something: not None, empty text or an empty list."""
    return value is not None and value != "" and value != [] and value != {}


def label_of(value: Any) -> bool:
    """A thumb, however a file writes it: true, 1, "true", "desirable"; false, 0, -1, "false", "undesirable"."""
    text = str(plain(value)).strip().lower()
    if text in ("true", "1", "1.0", "yes", "desirable", "good", "liked", "chosen"):
        return True
    if text in ("false", "0", "0.0", "-1", "-1.0", "no", "undesirable", "bad", "disliked", "rejected"):
        return False
    raise Unusable(f"a label that is neither true nor false: {value!r}")


def label_name(row: Row) -> str | None:
    """The field that holds a rating's label."""
    return next((name for name in ("label", "kto_tag") if row.get(name) is not None), None)


def weight_of(turn: Row) -> Literal[0, 1] | None:
    """Whether a turn is trained: `weight` 0 or 1, `train` or `loss` true or false. The strictest one decides."""
    said = [turn[name] for name in ("weight", "train", "loss") if turn.get(name) is not None]
    if any(value not in (0, 1) for value in said):
        raise Unusable("a weight other than 0 and 1")
    return None if not said else 1 if all(said) else 0


def thought_and_said(text: str, reasoning: Any = None) -> tuple[str | None, str]:
    """(reasoning, answer) of an assistant's turn: from its own field, or from <think> tags in the text."""
    return (text_of(reasoning) or None, text) if given(reasoning) else split_reasoning(text)


def with_system(row: Row, messages: list[Message]) -> list[Message]:
    """The messages after the text of the column `system`, unless they begin with a system message of their own."""
    text = text_of(row.get("system"))
    if not text or (messages and messages[0].role == "system"):
        return messages
    return [Message(role="system", content=text), *messages]


def with_context(row: Row, question: str) -> str:
    """A question after the passage of the column `context`, and before the answers of the column `choices`."""
    passage = text_of(row.get("context")).strip()
    choices = [f"{letter}. {text}" for letter, text in choices_of(row)]
    return "\n\n".join(part for part in (passage, "\n".join([question, *choices])) if part)


def choices_of(row: Row) -> list[tuple[str, str]]:
    """(letter, text) of each answer to choose from: a list of texts, or lists of labels and texts (ARC)."""
    choices = row.get("choices")
    if isinstance(choices, dict):
        texts, letters = choices.get("text"), choices.get("label")
        if isinstance(texts, list) and isinstance(letters, list):
            return [(str(letter), text_of(text)) for letter, text in zip(letters, texts, strict=False)]
    if not isinstance(choices, list):
        return []
    return [(chr(ord("A") + number), text_of(text)) for number, text in enumerate(choices[:26])]


def call_of(value: Any) -> dict[str, Any]:
    """A tool call in our form: arguments as an object, whether the file had an object or JSON in a string."""
    if isinstance(value, str):
        value = _json_of(value, "a tool call that is not JSON")
    function = value.get("function") or value if isinstance(value, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unusable("a tool call without a name")
    arguments = plain(function.get("arguments", function.get("parameters", {})))
    if isinstance(arguments, str):  # some real files hold broken arguments; the text is kept as it is
        arguments = parse_arguments(arguments)
    value.get("type")  # always "function"
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": value["id"], **call} if isinstance(value.get("id"), str) else call


def calls_of(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, str):
        value = _json_of(value, "a tool call that is not JSON")
    return [call_of(item) for item in (value if isinstance(value, list) else [value])]


def _json_of(text: str, reason: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable(reason) from None


def tools_of(row: Row) -> list[dict[str, Any]] | None:
    """Tool definitions in OpenAI's form, from the columns `tools` or `functions`: a list, or JSON in a string."""
    try:
        return parse_tools(plain(row.get("tools") or row.get("functions")))
    except ValueError as error:
        raise Unusable(str(error)) from None
