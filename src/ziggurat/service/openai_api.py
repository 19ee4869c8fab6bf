"""The part of OpenAI's API that a chat client needs: `/v1/models` and `/v1/chat/completions`, streamed or whole.

Fields that are read: model, messages (content as a string or as text parts), temperature, top_p, max_tokens or
max_completion_tokens, seed, stop, stream, stream_options.include_usage. Fields that would change the answer and are not
built yet are refused by name rather than ignored; every other field is left unread.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from starlette.responses import JSONResponse, Response

from ziggurat.service.bodies import (
    MaxTokens,
    ModelName,
    Seed,
    Temperature,
    TopP,
    Turn,
    read_body,
    to_messages,
    to_params,
)
from ziggurat.service.limits import Limits
from ziggurat.service.shelf import Served, Shelf
from ziggurat.service.streams import Tally, event, gather, stream
from ziggurat.service.worker import Ask

NOT_BUILT = ("tools", "functions", "response_format", "logit_bias", "logprobs", "top_logprobs")
"""Refused with 400 unless empty: silence would be a wrong answer."""


MAX_STOPS = 32
"""OpenAI takes 4; evaluation harnesses send more."""

StopString = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class OpenAITurn(Turn):
    role: Literal["system", "user", "assistant"]

    @field_validator("role", mode="before")
    @classmethod
    def _developer_is_system(cls, role: object) -> object:
        return "system" if role == "developer" else role

    @field_validator("content", mode="before")
    @classmethod
    def _text_parts(cls, content: object) -> object:
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


class StreamOptions(BaseModel):
    include_usage: bool = False


class CompletionBody(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="allow")

    model: ModelName
    messages: list[OpenAITurn]
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    seed: Seed | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=MAX_STOPS)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @model_validator(mode="after")
    def _only_what_is_built(self) -> CompletionBody:
        extra = self.model_extra or {}
        for name in NOT_BUILT:
            if extra.get(name) not in (None, False, 0, [], {}, {"type": "text"}):
                raise ValueError(f"{name} is not supported by this server yet; leave it out")
        if self.n not in (None, 1):
            raise ValueError(f"n is {self.n}; this server writes one choice at a time")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self


def openai_routes(shelf: Shelf, limits: Limits) -> APIRouter:
    routes = APIRouter(prefix="/v1")
    created = int(time.time())

    def described(served: Served) -> dict[str, Any]:
        return {"id": served.card.name, "object": "model", "created": created, "owned_by": "ziggurat"}

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [described(served) for served in shelf]}

    @routes.get("/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        return described(shelf[name])

    @routes.post("/chat/completions", response_model=None)
    async def completions(request: Request) -> Response:
        body = await read_body(request, CompletionBody, limits)
        served = shelf[body.model]
        messages = to_messages(body.messages, limits)
        params = to_params(
            temperature=1.0 if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            seed=body.seed,
            limits=limits,
        )
        ticket = served.worker.submit(Ask(messages=messages, params=params, stop=body.stops))
        common = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": body.model}
        if not body.stream:
            text, tally = await gather(request, ticket)
            return JSONResponse(_whole(common, text, tally))

        def tail(tally: Tally) -> list[bytes]:
            last = [event(_chunk(common, {}, tally.finish))]
            if body.stream_options is not None and body.stream_options.include_usage:
                last.append(event({**_chunk(common, {}), "choices": [], "usage": tally.usage()}))
            return [*last, b"data: [DONE]\n\n"]

        return await stream(
            request,
            ticket,
            head=[_chunk(common, {"role": "assistant", "content": ""})],
            piece=lambda text: _chunk(common, {"content": text}),
            tail=tail,
            keepalive_s=limits.keepalive_s,
        )

    return routes


def _chunk(common: dict[str, Any], delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return {**common, "object": "chat.completion.chunk", "choices": [choice]}


def _whole(common: dict[str, Any], text: str, tally: Tally) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": tally.finish, "logprobs": None}
    return {**common, "object": "chat.completion", "choices": [choice], "usage": tally.usage()}
