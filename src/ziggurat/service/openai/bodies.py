"""Messages and sampling settings, as the page's API and OpenAI's share them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError

MAX_SEED = 2**53 - 1  # the largest whole number that a browser holds exactly

Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
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
        if content is None:
            return ""
        if not isinstance(content, list):
            return content
        texts = []
        for part in content:
            if not (
                isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
            ):
                raise ValueError("only text parts can be read")
            texts.append(part["text"])
        return "".join(texts)

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
            if not isinstance(function.get("arguments", "{}"), str):
                raise ValueError("the arguments of tool_calls are JSON in a string")
        return self


class ChatBody(BaseModel):
    """The body of `POST /api/chat`."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    messages: list[Turn]
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    max_tokens: MaxTokens | None = None
    seed: Seed | None = None


def to_messages(turns: Sequence[Turn | OpenAITurn], limits: Limits) -> list[Message]:
    """The conversation as records, within bounds, and ending where a model can answer."""
    if not turns:
        raise ApiError(400, "messages is empty; send at least one message of role user.", param="messages")
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
    if turns[-1].role not in ("user", "tool"):
        message = f"messages ends on {turns[-1].role}; the last message must be the user's."
        raise ApiError(400, message, param=f"messages.{len(turns) - 1}.role")
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
    """Sampling settings. Without a seed one is drawn, and told with the answer, so that any answer can be repeated."""
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
