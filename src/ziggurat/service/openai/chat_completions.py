"""`POST /v1/chat/completions`, whole or streamed, any number of choices, with log-probabilities and tools.

A stream: for each choice one chunk with its role, then its text, then one chunk with an empty delta and the reason it
ended; then the usage, if requested; then [DONE]. A tool call is sent in one piece, when it is complete. Text that was
written as a call and cannot be read as one is content.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, Tag, model_validator
from starlette.responses import Response

from ziggurat.dialogue.forms import Form, Rendering
from ziggurat.service.access.caller import caller
from ziggurat.service.guarded import examined, let_in
from ziggurat.service.http.body import one_of
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import DONE, event, large_json
from ziggurat.service.models.shelf import Served
from ziggurat.service.openai.bodies import MaxTokens, OpenAITurn, refuse_fields, to_messages
from ziggurat.service.openai.logprobs import chat_entries, prompt_logprobs
from ziggurat.service.openai.sampling import SamplingBody, ToolName
from ziggurat.service.openai.streams import Choice, Tally, gather, stream
from ziggurat.service.openai.tools import Mode, ToolCall, ToolChoice, read_calls
from ziggurat.service.services import Services

if TYPE_CHECKING:
    from ziggurat.dialogue.desk import Delta

NOT_BUILT = ("functions", "function_call", "audio", "web_search_options")
"""Refused with 400 unless empty: an answer that ignores them would be wrong."""

TEMPLATE_VARIABLES = frozenset(("messages", "tools", "add_generation_prompt"))


class Function(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    type: Literal["function"]
    function: Function


class NamedFunction(BaseModel):
    name: ToolName


class NamedTool(BaseModel):
    type: Literal["function"]
    function: NamedFunction


class Allowed(BaseModel):
    mode: Literal["auto", "required"] = "auto"
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedTools(BaseModel):
    """The model may call only these tools."""

    type: Literal["allowed_tools"]
    allowed_tools: Allowed


Choosing = Annotated[
    Annotated[Mode, Tag("<text>")]
    | Annotated[NamedTool, Tag("<function>")]
    | Annotated[AllowedTools, Tag("<allowed_tools>")],
    one_of("none, auto, required, or an object of type function or allowed_tools", by="type"),
]


class ChatCompletionBody(SamplingBody):
    messages: list[OpenAITurn]
    max_tokens: MaxTokens | None = None
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Choosing | None = None
    parallel_tool_calls: bool | None = None
    # vLLM's
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None
    chat_template_kwargs: Annotated[dict[str, Any], Field(max_length=32)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ChatCompletionBody:
        refuse_fields(self, NOT_BUILT)
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError(
                "continue_final_message and add_generation_prompt exclude each other; set one to false"
            )
        if wrong := TEMPLATE_VARIABLES & set(self.chat_template_kwargs or ()):
            raise ValueError(f"chat_template_kwargs may not set {min(wrong)}, which the request sets itself")
        self.choice.check(self.functions)
        return self

    @property
    def functions(self) -> list[dict[str, Any]]:
        return [tool.function.model_dump() for tool in self.tools or ()]

    @property
    def choice(self) -> ToolChoice:
        said = self.tool_choice
        if isinstance(said, NamedTool):
            return ToolChoice("required", (said.function.name,))
        if isinstance(said, AllowedTools):
            names = tuple(tool.function.name for tool in said.allowed_tools.tools)
            return ToolChoice(said.allowed_tools.mode, names, hides=True)
        return ToolChoice(said or "auto")

    def form(self) -> Form | None:
        parallel = self.parallel_tool_calls is not False
        return self.choice.form(self.functions, super().form(), parallel=parallel)

    def rendering(self) -> Rendering:
        return Rendering(
            kwargs=self.chat_template_kwargs or {},
            continue_final=bool(self.continue_final_message),
            add_generation_prompt=self.add_generation_prompt is not False,
        )


def chat_completion_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1")
    limits = services.limits

    @routes.post("/chat/completions", **takes(ChatCompletionBody, streams=True))
    async def chat_completions(request: Request) -> Response:
        body = await services.read(request, ChatCompletionBody)
        if isinstance(body, Response):
            return body
        served = services.shelf[body.model]
        served.worker.check_room()
        tools = body.choice.shown_by(served.worker.chat, body.model, body.functions)
        rendering = body.rendering()
        messages = to_messages(body.messages, limits, continue_final=rendering.continue_final)
        params = body.params(
            limits,
            max_tokens=body.max_completion_tokens or body.max_tokens,
            logprobs=(body.top_logprobs or 0) if body.logprobs else 0,
            prompt_logprobs=body.prompt_logprobs,
            cache_salt=caller(request).salt,
        )
        form = body.form()
        prepared = await anyio.to_thread.run_sync(
            lambda: served.worker.chat.prepare(
                messages,
                params,
                stop=body.stops,
                last=body.truncate_prompt_tokens,
                tools=tools,
                form=form,
                rendering=rendering,
            )
        )
        asked = await examined(services, messages)
        (ticket,) = let_in(request, services, served, [prepared], [asked], whole=not body.stream)
        shape = _Shape(body, served, len(prepared.ids))
        if not body.stream:
            (tally,) = await gather(request, [ticket])
            return await large_json(lambda: shape.whole(tally))
        return await stream(
            request, ticket, pieces=shape.pieces, tail=shape.tail, keepalive_s=limits.keepalive_s
        )

    return routes


class _Shape:
    """The answer to one request, as JSON."""

    def __init__(self, body: ChatCompletionBody, served: Served, prompt_tokens: int) -> None:
        self.body, self.chat, self.prompt_tokens = body, served.worker.chat, prompt_tokens
        self.common = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": body.model,
            "system_fingerprint": served.fingerprint,
        }
        self.begun: set[int] = set()

    def whole(self, tally: Tally) -> dict[str, Any]:
        choices = (self._choice(index, tally.choices[index]) for index in sorted(tally.choices))
        answer = {**self.common, "object": "chat.completion", "choices": choices, "usage": tally.usage()}
        if self.body.prompt_logprobs is not None:
            answer["prompt_logprobs"] = prompt_logprobs(
                tally.choices[0].prompt, self.chat.token_name, self.body.prompt_logprobs
            )
        return answer

    def _choice(self, index: int, choice: Choice) -> dict[str, Any]:
        read = read_calls(choice.calls, choice.finish)
        text = choice.text + "".join(choice.calls[number] for number in read.unread)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if read.calls:
            message["content"] = text or None
            message["tool_calls"] = [call.as_json() for call in read.calls]
        entries = self._entries(choice, choice.tokens, None, *read.unread)
        answer = {
            "index": index,
            "message": message,
            "finish_reason": self._finish(choice, read.calls),
            "logprobs": None if entries is None else {"content": entries, "refusal": None},
        }
        if choice.guard is not None:
            answer["guard"] = choice.guard
        if self.body.return_token_ids:
            answer["token_ids"] = [token.id for token in choice.tokens]
        return answer

    def _entries(
        self, choice: Choice, tokens: Sequence[Any], *calls: int | None
    ) -> Iterator[dict[str, Any]] | None:
        """Log-probabilities of the tokens that begin in the content (None) or in one of these calls."""
        if not self.body.logprobs:
            return None
        return chat_entries(choice.within(tokens, *calls), self.chat.token_name, self.chat.token_bytes)

    def _logprobs(self, choice: Choice, tokens: Sequence[Any], *calls: int | None) -> dict[str, Any] | None:
        """Those of `_entries`, as one piece of a stream has them."""
        entries = self._entries(choice, tokens, *calls)
        return None if entries is None else {"content": list(entries), "refusal": None}

    # --- streamed -----------------------------------------------------------------------------------------------

    def pieces(self, delta: Delta, tally: Tally) -> Iterator[bytes]:
        usage = self.body.usage_of_piece(tally, self.prompt_tokens)
        if delta.choice not in self.begun:
            self.begun.add(delta.choice)
            yield self._chunk(delta.choice, {"role": "assistant", "content": ""}, usage)
        choice = tally.choices[delta.choice]
        logprobs = self._logprobs(choice, choice.take(), None)
        text = delta.text if delta.call is None else ""
        if text or (logprobs and logprobs["content"]):
            yield self._chunk(delta.choice, {"content": text}, usage, logprobs=logprobs)
        if delta.finish is None:
            return
        read = read_calls(choice.calls, choice.finish)
        if text := "".join(choice.calls[number] for number in read.unread):
            logprobs = self._logprobs(choice, choice.tokens, *read.unread)
            yield self._chunk(delta.choice, {"content": text}, usage, logprobs=logprobs)
        for number, call in enumerate(read.calls):
            yield self._chunk(delta.choice, {"tool_calls": [{"index": number, **call.as_json()}]}, usage)
        finish = self._finish(choice, read.calls)
        yield self._chunk(delta.choice, {}, usage, finish=finish, guard=choice.guard)

    def tail(self, tally: Tally) -> Iterator[bytes]:
        if self.body.wants_usage:
            yield event(
                {**self.common, "object": "chat.completion.chunk", "choices": [], "usage": tally.usage()}
            )
        yield DONE

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        usage: dict[str, Any],
        *,
        finish: str | None = None,
        logprobs: dict[str, Any] | None = None,
        guard: dict[str, str | None] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        if guard is not None:
            choice["guard"] = guard
        return event({**self.common, "object": "chat.completion.chunk", "choices": [choice], **usage})

    def _finish(self, choice: Choice, calls: list[ToolCall]) -> str:
        """A call that `tool_choice` forces by name ends with `stop`, as OpenAI documents it."""
        called = calls and choice.finish == "stop" and not isinstance(self.body.tool_choice, NamedTool)
        return "tool_calls" if called else choice.finish
