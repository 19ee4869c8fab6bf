"""A message, as records hold it: its content in typed parts, reasoning, tool calls.

The content of a message is a list of typed parts (`Message.parts`). Text is the only type today. `Message.content` is
the joined text, and the JSON form of a message with text alone is a plain string.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

Role = Literal["system", "user", "assistant", "tool"]

MESSAGE_KEYS = frozenset(
    {"role", "content", "weight", "train", "loss", "reasoning_content", "reasoning", "tool_calls"}
    | {"function_call", "tool_call_id", "name"}
)
"""The fields that a message may have in JSON."""

_THINKING = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)


class Strict(BaseModel):
    """Base of records and their parts: unknown fields are refused, and numbers are not read as text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> dict[str, Any]:
        """The JSON object that is written to a file; fields without a value are left out."""
        return self.model_dump(mode="json", exclude_none=True)


Reasoning = Literal["trained", "shown", "hidden"]
"""What becomes of an assistant's reasoning: trained like its answer; shown to the model but not trained; left out."""


class TextPart(Strict):
    """A part of a content that is text."""

    type: Literal["text"] = "text"
    text: str


Part = TextPart
"""A part of a content. Further types (images) join this name."""


class Message(Strict):
    """One turn. `weight` 0 keeps an assistant message in the conversation and out of training.

    JSON input may also use: `content` as a list of parts, the role `developer` (read as `system`), `train` or `loss`
    (true or false, in place of `weight`), `reasoning_content` or `reasoning`, and `function_call`.
    """

    role: Role
    parts: list[Part] = []
    weight: Literal[0, 1] | None = None
    reasoning: str | None = None
    """What the assistant thought before its answer: `reasoning_content` in JSON."""
    tool_calls: list[dict[str, Any]] | None = None
    """In OpenAI's form; `arguments` is an object or JSON text, and templates get the form that they need."""
    tool_call_id: str | None = None
    name: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            role: Role,
            content: str | Sequence[Part] = ...,
            weight: Literal[0, 1] | None = ...,
            reasoning: str | None = ...,
            tool_calls: list[dict[str, Any]] | None = ...,
            tool_call_id: str | None = ...,
            name: str | None = ...,
        ) -> None: ...

    @property
    def content(self) -> str:
        """The text of all parts, joined."""
        return "".join(part.text for part in self.parts)

    def with_content(self, content: str) -> Message:
        """A copy with another text."""
        return self.model_copy(update={"parts": parts_of(content)})

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "parts" in value:
            return value
        row = dict(value)
        if row.get("role") == "developer":
            row["role"] = "system"
        for name in ("train", "loss"):
            if name in row:
                row["weight"] = _weight_of(row.pop(name), name)
        if isinstance(row.get("weight"), bool | float):
            row["weight"] = _weight_of(row["weight"], "weight")
        if "reasoning_content" in row:
            row["reasoning"] = row.pop("reasoning_content") or row.get("reasoning")
        row["reasoning"] = row.get("reasoning") or None
        if row["reasoning"] is not None and row.get("role") != "assistant":
            raise ValueError(
                f"only an assistant message has reasoning, this one has role {row.get('role')!r}"
            )
        if call := row.pop("function_call", None):
            row["tool_calls"] = row.get("tool_calls") or [{"type": "function", "function": call}]
        content = row.pop("content", None)
        if content is None and not (row.get("tool_calls") or row["reasoning"]):
            raise ValueError(
                "a message needs content (only one with tool_calls or reasoning may leave it out)"
            )
        row["parts"] = parts_of(content)
        return row

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        row: dict[str, Any] = handler(self)
        parts = row.pop("parts", None)
        reasoning = row.pop("reasoning", None)
        content = {} if parts is None else {"content": self.content}
        thought = {} if reasoning is None else {"reasoning_content": reasoning}
        return {"role": row.pop("role", self.role), **content, **thought, **row}


def parts_of(content: Any) -> list[Part]:
    """The parts of a content: text, a list of parts as the OpenAI API has them, or None. Neighbouring texts are joined.

    ValueError for a part of another type.
    """
    if content is None or content == "":
        return []
    if isinstance(content, str):
        return [TextPart.model_construct(type="text", text=content)]
    if not isinstance(content, list | tuple):
        raise ValueError(f"content must be text or a list of parts, found {type(content).__name__}")
    texts = []
    for part in content:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text"):
            if not isinstance(part.get("text"), str):
                raise ValueError('a content part of type "text" needs a field "text" that holds text')
            texts.append(part["text"])
        else:
            type_name = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f'content parts of type {type_name!r} are not supported, only "text" is')
    return parts_of("".join(texts))


def completion_messages(completion: str | list[Message]) -> list[Message]:
    """A completion as messages."""
    return [Message(role="assistant", content=completion)] if isinstance(completion, str) else completion


def split_reasoning(content: str) -> tuple[str | None, str]:
    """(reasoning, answer) of an assistant's text that begins with a think block; (None, text) of any other.

    >>> split_reasoning("<think>\\nadd\\n</think>\\n\\nFour.")
    ('add', 'Four.')
    """
    found = _THINKING.fullmatch(content)
    return (found[1].strip("\n"), found[2].lstrip("\n")) if found else (None, content)


def parse_arguments(text: str) -> Any:
    """Tool arguments as an object; text that is not a JSON object stays the text.

    Numbers that JSON cannot write (`NaN`, `1e999`) leave the text as it is, too.
    """
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite) if text.strip() else {}
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def parse_tools(value: Any) -> list[dict[str, Any]] | None:
    """Tool definitions in OpenAI's form, from a list, one definition, or JSON text. ValueError for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise ValueError("tools that are not JSON") from None
    if not value:
        return None
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise ValueError("tools that are not objects")
    return [item if "function" in item else {"type": "function", "function": item} for item in items]


def _weight_of(value: Any, name: str) -> Any:
    if value is None or value in (0, 1):
        return None if value is None else int(value)
    raise ValueError(f"{name} must be 0, 1, true or false, found {value!r}")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"{text} is too large for a number")
    return number
