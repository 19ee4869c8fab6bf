"""Messages and sampling settings, as the page's API and OpenAI's share them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from ziggurat.dialogue.calls import MAX_NESTING, nesting
from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError

LEAST_SEED, MAX_SEED = -(2**63), 2**63 - 1
"""OpenAI's: any whole number of 64 bits. The engine reads its bits, so each gives draws of its own."""

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=LEAST_SEED, le=MAX_SEED)]
MaxTokens = Annotated[int, Field(ge=1)]
ModelName = Annotated[str, StringConstraints(min_length=1)]


class Turn(BaseModel):
    """One message as a client writes it. Unknown fields are left unread, as OpenAI's clients expect."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant"]
    content: str


class OpenAITurn(BaseModel):
    """A message as OpenAI's clients write it: text or text parts, tool calls and their results."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @field_validator("role", mode="before")
    @classmethod
    def _developer_is_system(cls, role: object) -> object:
        return "system" if role == "developer" else role

    @field_validator("content", mode="before")
    @classmethod
    def _text_parts(cls, content: object) -> object:
        return "" if content is None else joined(content, {"text": "text"})

    @model_validator(mode="after")
    def _fits_its_role(self) -> OpenAITurn:
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a message of role tool needs tool_call_id")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only a message of role assistant has tool_calls")
        for call in self.tool_calls or []:
            function = call.get("function")
            if not isinstance(function, dict) or not isinstance(function.get("name"), str):
                raise ValueError("each of tool_calls needs a function with a name")
            function["arguments"] = checked_arguments(function.get("arguments", ""))
        return self


def joined(content: object, fields: Mapping[str, str]) -> object:
    """Text parts as one text, anything else as it is; `fields`: the field that holds the text, by the part's type."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        field = fields.get(kind) if isinstance(kind, str) else None
        if field is None or not isinstance(part.get(field), str):
            raise ValueError("only text parts can be read")
        texts.append(part[field])
    return "".join(texts)


def refuse_fields(body: BaseModel, names: Sequence[str]) -> None:
    """ValueError for a field of these that is not empty."""
    for name in names:
        if (body.model_extra or {}).get(name) not in (None, False, 0, [], {}):
            raise ValueError(f"{name} is not supported by this server; leave it out")


def checked_arguments(arguments: object) -> str:
    """Arguments of a call in the history: a JSON object in a string, "" for none; ValueError for anything else."""
    if not isinstance(arguments, str):
        raise ValueError("arguments of a tool call must be a string that holds a JSON object")
    if not arguments.strip():
        return "{}"
    if nesting(arguments) > MAX_NESTING:
        raise ValueError(f"arguments of a tool call are nested more than {MAX_NESTING} levels deep")
    try:
        value = json.loads(arguments, parse_constant=_refuse, parse_int=str)
    except ValueError as error:
        raise ValueError(f"arguments of a tool call are not JSON ({error}); send what the call was") from None
    if not isinstance(value, dict):
        raise ValueError("arguments of a tool call must be a JSON object, such as {}")
    return arguments


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")


class ChatBody(BaseModel):
    """The body of `POST /api/chat`."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    messages: list[Turn]
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    max_tokens: MaxTokens | None = None
    seed: Seed | None = None


def to_messages(
    turns: Sequence[Turn | OpenAITurn], limits: Limits, *, continue_final: bool = False
) -> list[Message]:
    """The conversation as records, within bounds, and ending where a model can answer.

    `continue_final`: the answer continues the last message, which is the assistant's; otherwise it may not be.
    """
    if not turns:
        raise ApiError(400, "messages is empty; send at least one message.", param="messages")
    if len(turns) > limits.max_messages:
        message = (
            f"messages has {len(turns)} messages; at most {limits.max_messages} are read. Start a new chat."
        )
        raise ApiError(400, message, param="messages")
    for number, turn in enumerate(turns):
        if len(turn.content) > limits.max_message_chars:
            raise ApiError(
                400,
                f"messages.{number}.content has {len(turn.content)} characters; "
                f"at most {limits.max_message_chars} are read.",
                param=f"messages.{number}.content",
            )
    last = len(turns) - 1
    if turns[-1].role == "assistant" and not continue_final:
        message = (
            "messages ends on assistant; end with a message that awaits an answer, "
            "or set continue_final_message to have this one continued."
        )
        raise ApiError(400, message, param=f"messages.{last}.role")
    if turns[-1].role != "assistant" and continue_final:
        message = f"continue_final_message is set and messages ends on {turns[-1].role}; end with the assistant's text."
        raise ApiError(400, message, param="continue_final_message")
    return [Message.model_validate(turn.model_dump(exclude_none=True)) for turn in turns]


def to_params(
    *,
    temperature: float,
    top_p: float,
    max_tokens: int | None,
    seed: int | None,
    limits: Limits,
    **more: Any,
) -> SamplingParams:
    """Sampling settings. Without a seed one is drawn and returned with the answer, which can then be repeated."""
    if max_tokens is not None and max_tokens > limits.max_tokens:
        message = f"max_tokens is {max_tokens}; this server writes at most {limits.max_tokens}."
        raise ApiError(400, message, param="max_tokens")
    return SamplingParams(
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens or limits.max_tokens,
        seed=secrets.randbelow(2**31) if seed is None else seed,
        **more,
    )
