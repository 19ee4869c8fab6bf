"""Items of `/v1/responses`: what a client sends as `input`, the messages that they become, and how they are listed.

    message                 a turn of the user, the assistant, the system or the developer, as text or as text parts
    function_call           the assistant's, as it was answered before; joins the turn that it belongs to
    function_call_output    what the tool answered
    reasoning               accepted and not read: no model here writes it

Items of other kinds, images and files are refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError
from ziggurat.service.openai.bodies import checked_arguments, joined

TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""The parts that hold text, and the field that holds it."""


class InputItem(BaseModel):
    """One item of `input`. Unknown fields are not read: clients send back items with what they have added."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None

    @field_validator("content", "output", mode="before")
    @classmethod
    def _text_parts(cls, content: object) -> object:
        return joined(content, TEXT_PARTS)

    @model_validator(mode="before")
    @classmethod
    def _reasoning_is_unread(cls, item: object) -> object:
        thought = isinstance(item, dict) and item.get("type") == "reasoning"
        return {"type": "reasoning"} if thought else item

    @model_validator(mode="after")
    def _whole(self) -> InputItem:
        needed = {
            "message": ("role", "content"),
            "function_call": ("call_id", "name", "arguments"),
            "function_call_output": ("call_id", "output"),
            "reasoning": (),
        }
        missing = [
            name
            for name in needed[self.type]
            if getattr(self, name) is None or (name == "content" and "content" not in self.model_fields_set)
        ]
        if missing:
            raise ValueError(f"an item of type {self.type} needs {' and '.join(missing)}")
        if self.type == "function_call":
            self.arguments = checked_arguments(self.arguments)
        return self

    def listed(self) -> dict[str, Any]:
        """As `input_items` lists it."""
        if self.type == "message":
            kind = "output_text" if self.role == "assistant" else "input_text"
            extra: dict[str, Any] = {"annotations": [], "logprobs": []} if self.role == "assistant" else {}
            part = {"type": kind, "text": self.content, **extra}
            return {**self._named("msg"), "role": self.role, "content": [part]}
        if self.type == "function_call":
            call = {"call_id": self.call_id, "name": self.name, "arguments": self.arguments}
            return {**self._named("fc"), **call}
        return {**self._named("fco"), "call_id": self.call_id, "output": self.output}

    def _named(self, prefix: str) -> dict[str, Any]:
        return {"id": new_id(prefix), "type": self.type, "status": "completed"}


def _as_items(given: object) -> object:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


Input = Annotated[
    list[InputItem], BeforeValidator(_as_items, json_schema_input_type=str | list[dict[str, Any]])
]


def new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def listed(items: Sequence[InputItem]) -> list[dict[str, Any]]:
    """Items as they are stored: each with an id of ours, so that no two have the same."""
    return [item.listed() for item in items if item.type != "reasoning"]


def to_conversation(
    instructions: str | None, items: Sequence[dict[str, Any]], limits: Limits
) -> list[Message]:
    """The conversation of listed items, within bounds, and ending where a model can answer."""
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    for item in items:
        _add(messages, item)
    if len(messages) > limits.max_messages:
        message = f"input has {len(messages)} messages, with those before it; at most {limits.max_messages} are read."
        raise ApiError(400, message, param="input")
    for message_ in messages:
        if len(message_["content"]) > limits.max_message_chars:
            message = (
                f"a message of input has {len(message_['content'])} characters; "
                f"at most {limits.max_message_chars} are read."
            )
            raise ApiError(400, message, param="input")
    if not messages or messages[-1]["role"] == "assistant":
        message = "input must end with a message that awaits an answer or with the output of a function call."
        raise ApiError(400, message, param="input")
    return [Message.model_validate(message) for message in messages]


def _add(messages: list[dict[str, Any]], item: dict[str, Any]) -> None:
    if item["type"] == "message":
        role = "system" if item["role"] == "developer" else item["role"]
        messages.append({"role": role, "content": "".join(part["text"] for part in item["content"])})
    elif item["type"] == "function_call_output":
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": item["output"]})
    else:
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": ""})
        try:
            arguments = checked_arguments(item["arguments"])
        except ValueError as error:  # of a stored response that was cut off
            message = f"the call {item['call_id']} before this input cannot be continued: {error}."
            raise ApiError(400, message, param="previous_response_id") from None
        function = {"name": item["name"], "arguments": arguments}
        call = {"id": item["call_id"], "type": "function", "function": function}
        messages[-1].setdefault("tool_calls", []).append(call)
