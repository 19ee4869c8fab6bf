"""Tools: which may be called, and calls from what the model wrote to OpenAI's shape.

dialogue/calls.py reads a call. What the model wrote where a call should be and cannot be read as one becomes content.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ziggurat.dialogue.calls import read_call
from ziggurat.dialogue.forms import Form
from ziggurat.service.http.problems import ApiError

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

Mode = Literal["none", "auto", "required"]
Functions = Sequence[dict[str, Any]]
"""`{"name", "description", "parameters", ...}` each, of either of OpenAI's APIs."""


@dataclass(frozen=True)
class ToolChoice:
    """What `tool_choice` says, however its API spells it."""

    mode: Mode = "auto"
    names: tuple[str, ...] = ()  # only these may be called; none named: all of them
    hides: bool = False  # the others are not in the prompt

    def check(self, functions: Functions) -> None:
        """ValueError if it names a tool that is not among the functions."""
        known = [function["name"] for function in functions]
        if strange := [name for name in self.names if name not in known]:
            raise ValueError(f"tool_choice names {strange[0]}, which is not among tools")
        if self.mode == "required" and not known:
            raise ValueError("tool_choice is required and there are no tools")

    def shown(self, functions: Functions) -> list[dict[str, Any]] | None:
        """The tools that go into the prompt, as templates expect them."""
        if self.mode == "none" or not functions:
            return None
        shown = self._allowed(functions) if self.hides else functions
        return [{"type": "function", "function": _for_model(function)} for function in shown]

    def shown_by(self, chat: Chat, model: str, functions: Functions) -> list[dict[str, Any]] | None:
        """`shown`; 400 if the model's template does not show tools, unless a call is forced."""
        tools = self.shown(functions)
        if tools and self.mode != "required" and not chat.uses_tools:
            message = (
                f"The chat template of {model} does not show tools; leave out tools, force a call with tool_choice, "
                "or ask a model whose template shows them."
            )
            raise ApiError(400, message, param="tools", code="unsupported_value")
        return tools

    def form(self, functions: Functions, text: Form | None, *, parallel: bool = True) -> Form | None:
        """What the answer must look like; `text` is the form that was asked for beside the tools.

        A required call takes precedence over that form, and that form over a call that the model may choose to write.
        `parallel` false: at most one call.
        """
        allowed = self._allowed(functions)
        if allowed and self.mode == "required":
            return Form.call(allowed)
        held = self.names or not parallel or any(function.get("strict") for function in allowed)
        if text is not None or self.mode != "auto" or not allowed or not held:
            return text
        return Form.calls(allowed, parallel=parallel)

    def _allowed(self, functions: Functions) -> Functions:
        return [function for function in functions if not self.names or function["name"] in self.names]


def _for_model(function: dict[str, Any]) -> dict[str, Any]:
    """Without the fields that only this server reads."""
    return {key: value for key, value in function.items() if value is not None and key != "strict"}


@dataclass(frozen=True)
class ToolCall:
    id: str
    name: str
    arguments: str  # JSON text; of a call that a limit cut off, its beginning

    def as_json(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id, "type": "function", "function": function}


@dataclass(frozen=True)
class ReadCalls:
    """The calls of one answer, and the numbers of those that could not be read: their text is content."""

    calls: list[ToolCall]
    unread: list[int]


def read_calls(texts: Sequence[str], finish: str) -> ReadCalls:
    """`finish`: why the answer ended; a limit or a cancellation may have cut its last call off."""
    calls, unread = [], []
    for number, text in enumerate(texts):
        cut = number == len(texts) - 1 and finish != "stop"
        if found := read_call(text, cut=cut):
            calls.append(ToolCall(f"call_{secrets.token_hex(12)}", *found))
        else:
            unread.append(number)
    return ReadCalls(calls, unread)
