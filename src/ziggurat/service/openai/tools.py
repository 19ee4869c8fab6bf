"""Tools: which may be called, and calls from what the model wrote to OpenAI's shape.

A model that was taught tools writes a call as `{"name": ..., "arguments": {...}}` after its tool token. What it wrote
may be cut off (the token limit) or not be JSON; then the arguments are handed on as they stand, as OpenAI does, and the
client's own check finds them wanting.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ziggurat.dialogue.forms import Form
from ziggurat.service.http.problems import ApiError

_NAME = re.compile(r'^\s*\{\s*"name"\s*:\s*"([^"]*)"')
_ARGUMENTS = re.compile(r'"arguments"\s*:\s*')


Mode = Literal["none", "auto", "required"]
Functions = Sequence[dict[str, Any]]
"""`{"name", "description", "parameters", ...}` each, of either of OpenAI's APIs."""


@dataclass(frozen=True)
class ToolChoice:
    """What `tool_choice` says, however its API spells it."""

    mode: Mode = "auto"
    names: tuple[str, ...] = ()  # only these may be called; none named: all of them
    hides: bool = False  # the model is not told of the others

    def check(self, functions: Functions) -> None:
        """ValueError if it asks for what is not there."""
        known = [function["name"] for function in functions]
        if strange := [name for name in self.names if name not in known]:
            raise ValueError(f"tool_choice names {strange[0]}, which is not among tools")
        if self.mode == "required" and not known:
            raise ValueError("tool_choice is required and there are no tools")

    def told(self, functions: Functions) -> list[dict[str, Any]] | None:
        """The tools that the model is told of, as its template wants them."""
        if self.mode == "none" or not functions:
            return None
        shown = self._allowed(functions) if self.hides else functions
        return [{"type": "function", "function": _for_model(function)} for function in shown]

    def form(self, functions: Functions, text: Form | None) -> Form | None:
        """What the answer must look like; `text` is what was asked for beside the tools.

        A call that is required goes before it, one that the model may choose to write does not: then there is none.
        """
        allowed = self._allowed(functions)
        if allowed and self.mode == "required":
            return Form.call(allowed)
        held = self.names or any(function.get("strict") for function in allowed)
        return Form.calls(allowed) if text is None and held and self.mode == "auto" else text

    def _allowed(self, functions: Functions) -> Functions:
        return [function for function in functions if not self.names or function["name"] in self.names]


def _for_model(function: dict[str, Any]) -> dict[str, Any]:
    """Without what is none of the model's business."""
    return {key: value for key, value in function.items() if value is not None and key != "strict"}


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON, if the model wrote JSON

    def as_json(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


def read_calls(texts: Sequence[str]) -> list[ToolCall]:
    """The calls of one answer; text without a name is no call."""
    read = [_read(text) for text in texts]
    return [ToolCall(f"call_{secrets.token_hex(12)}", *found) for found in read if found is not None]


def _read(text: str) -> tuple[str, str] | None:
    """(name, arguments)."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("name"), str):
        arguments = whole.get("arguments", {})
        return whole["name"], arguments if isinstance(arguments, str) else _dump(arguments)
    name, begun = _NAME.match(text), _ARGUMENTS.search(text)
    return (name[1], text[begun.end() :] if begun else "") if name else None


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def no_tools(model: str) -> ApiError:
    message = f"{model} was not taught to use tools; leave out tools, or ask a model that was."
    return ApiError(400, message, param="tools", code="unsupported_value")
