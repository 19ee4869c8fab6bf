"""How a request wants its prompt rendered, and what its answer must look like (`grammar.py` makes token masks of that).

This module imports nothing heavy, so that request bodies can be read without the grammar compiler.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ziggurat.dialogue.schemas import moved
from ziggurat.errors import UsageError


@dataclass(frozen=True)
class Rendering:
    """What a request asks of the chat template beside its messages and tools."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Variables for the template, such as `enable_thinking`."""
    continue_final: bool = False
    """The last message is the assistant's, and the answer continues it."""
    add_generation_prompt: bool = True
    """Whether the prompt ends with what the template puts before an answer."""


Kind = Literal["json_schema", "regex", "choice", "grammar", "call", "calls", "one_call"]
CALLS = frozenset(("call", "calls", "one_call"))
"""The kinds that hold tool calls: one call and nothing else; text, then any number of calls; text, then at most one."""


@dataclass(frozen=True)
class Form:
    """What an answer must look like; `text` is a JSON schema, a pattern, a list of texts as JSON, or a Lark grammar."""

    kind: Kind
    text: str

    @classmethod
    def schema(cls, schema: dict[str, Any]) -> Form:
        return cls("json_schema", _dump(schema, "response_format"))

    @classmethod
    def choice(cls, texts: Sequence[str]) -> Form:
        return cls("choice", json.dumps(list(texts), ensure_ascii=False))

    @classmethod
    def call(cls, tools: Sequence[dict[str, Any]]) -> Form:
        """A call of one of these tools (`{"name", "parameters"}` each), with arguments by its parameters."""
        return cls("call", _any_call([(tool["name"], tool.get("parameters")) for tool in tools]))

    @classmethod
    def calls(cls, tools: Sequence[dict[str, Any]], *, parallel: bool = True) -> Form:
        """Any text, then calls of these tools: any number, or with `parallel` false at most one.

        The arguments of a `strict` tool fit its parameters; those of another tool are any object.
        """
        strict = [(tool["name"], tool.get("parameters") if tool.get("strict") else None) for tool in tools]
        return cls("calls" if parallel else "one_call", _any_call(strict))


def _any_call(tools: Sequence[tuple[str, dict[str, Any] | None]]) -> str:
    """The schema of a call of one of these tools, given as (name, schema of its arguments)."""
    calls = []
    for i, (name, arguments) in enumerate(tools):
        place = "#/properties/arguments" if len(tools) == 1 else f"#/anyOf/{i}/properties/arguments"
        properties = {"name": {"const": name}, "arguments": moved(arguments or {"type": "object"}, place)}
        calls.append(
            {
                "type": "object",
                "properties": properties,
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    schema = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return _dump(schema, "the parameters of a function")


def _dump(schema: dict[str, Any], what: str) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise UsageError(f"Invalid schema for {what}: it is nested too deeply.") from None
    except ValueError:
        raise UsageError(f"Invalid schema for {what}: a number in it is not finite.") from None
