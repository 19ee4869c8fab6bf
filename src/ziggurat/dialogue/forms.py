"""What an answer must look like, as it is asked for; `grammar.py` makes masks of it. Nothing heavy is imported here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["json_schema", "regex", "choice", "grammar", "tool", "calls"]


@dataclass(frozen=True)
class Form:
    """What an answer must look like; `text` is a JSON schema, a pattern, a list of texts as JSON, or a Lark grammar."""

    kind: Kind
    text: str

    @classmethod
    def schema(cls, schema: dict[str, Any]) -> Form:
        return cls("json_schema", json.dumps(schema, ensure_ascii=False))

    @classmethod
    def choice(cls, texts: Sequence[str]) -> Form:
        return cls("choice", json.dumps(list(texts), ensure_ascii=False))

    @classmethod
    def call(cls, tools: Sequence[dict[str, Any]]) -> Form:
        """A call of one of these tools (`{"name", "parameters"}` each), in the words of the chat template."""
        return cls("tool", _any_call([(tool["name"], tool.get("parameters")) for tool in tools]))

    @classmethod
    def calls(cls, tools: Sequence[dict[str, Any]]) -> Form:
        """Words of any kind, then any number of calls of these tools: a `strict` one with arguments by its parameters,
        another with any object."""
        strict = [(tool["name"], tool.get("parameters") if tool.get("strict") else None) for tool in tools]
        return cls("calls", _any_call(strict))


def _any_call(tools: Sequence[tuple[str, dict[str, Any] | None]]) -> str:
    """The schema of a call of one of these tools, a name and the schema of its arguments each."""
    calls = []
    for i, (name, arguments) in enumerate(tools):
        place = "#/properties/arguments" if len(tools) == 1 else f"#/anyOf/{i}/properties/arguments"
        arguments = _moved(arguments or {"type": "object"}, place)
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    return json.dumps(calls[0] if len(calls) == 1 else {"anyOf": calls}, ensure_ascii=False)


def _moved(schema: Any, place: str) -> Any:
    """A schema that stands at `place` of a larger one: what it refers to in itself moves along."""
    if isinstance(schema, list):
        return [_moved(part, place) for part in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    moved = {key: _moved(part, place) for key, part in schema.items()}
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = place + reference[1:]
    return moved
