"""One answer to one conversation, piece by piece, by a model of this server or of an upstream.

    async for piece in answer(services, ask):     Pieces, at the end one End

Cancelling the task that iterates cancels the model's work. Reasoning between `<think>` and `</think>` at the beginning
of an answer is separated from its text here, for models that write it so; upstreams send it in a field of its own. Tool
calls come with the end. What was written as a call and cannot be read as one is text.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio.to_thread

from ziggurat.dialogue.forms import Rendering
from ziggurat.engine.params import SamplingParams
from ziggurat.records import Message
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE
from ziggurat.service.models.shelf import Served
from ziggurat.service.openai.streams import Tally, timings
from ziggurat.service.openai.tools import read_calls
from ziggurat.service.services import Services
from ziggurat.service.upstream.servers import Upstream

BEGIN, END = "<think>", "</think>"
CALLED = "tool_calls"
"""Why an answer ended that ends with tool calls; OpenAI's word."""


@dataclass(frozen=True)
class Piece:
    text: str = ""
    reasoning: str = ""


@dataclass(frozen=True)
class End:
    finish_reason: str
    usage: dict[str, Any] = field(default_factory=dict)
    """prompt_tokens, completion_tokens, tokens_per_s, ttft_ms, context, dropped_messages; None or absent: unknown."""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    """In OpenAI's form; they are known when they are complete."""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked: a conversation whose last message awaits an answer, or with `goes_on` is one to be continued."""

    model: str
    messages: Sequence[Message]
    temperature: float = DEFAULT_TEMPERATURE
    top_p: float = 1.0
    max_tokens: int = DEFAULT_MAX_TOKENS
    seed: int = 0
    stop: Sequence[str] = ()
    goes_on: bool = False
    owner: str = ""
    """Whose turn it takes in the model's queue."""
    salt: str = ""
    """Separates cached prompts: response times must not tell one person what another has asked."""


def drawn_seed() -> int:
    return secrets.randbelow(2**31)


def answer(services: Services, ask: Ask) -> AsyncGenerator[Piece | End]:
    """The pieces of one answer.

    Raises (while iterating):
        ApiError: no such model.
        BusyError: the model's queue is full, it has failed, or an upstream does not answer.
        ContextError: the last message alone is longer than the context.
    """
    far = services.upstreams.named(ask.model)
    return _thinking(_far(far, ask) if far is not None else _near(services.shelf[ask.model], ask))


async def _near(served: Served, ask: Ask) -> AsyncGenerator[Piece | End]:
    params = SamplingParams(
        temperature=ask.temperature,
        top_p=ask.top_p,
        max_tokens=ask.max_tokens,
        seed=ask.seed,
        cache_salt=ask.salt,
    )
    rendering = Rendering(continue_final=True, add_generation_prompt=False) if ask.goes_on else None
    prepared = await anyio.to_thread.run_sync(
        lambda: served.worker.chat.prepare(
            ask.messages, params, stop=ask.stop, fit=not ask.goes_on, rendering=rendering
        )
    )
    ticket, tally = served.worker.submit(prepared, ask.owner), Tally()
    try:
        while (delta := await ticket.next()) is not None:
            tally.add(delta)
            if delta.text and delta.call is None:
                yield Piece(delta.text)
    finally:
        ticket.cancel()
    choice = tally.choices[0]
    read = read_calls(choice.calls, choice.finish)
    if unread := "".join(choice.calls[number] for number in read.unread):
        yield Piece(unread)
    calls = [call.as_json() for call in read.calls]
    times = timings(ticket, tally)
    first_s = times["waited_s"] + times["first_token_s"]
    yield End(
        CALLED if calls and choice.finish == "stop" else choice.finish,
        {
            "prompt_tokens": tally.prompt_tokens,
            "completion_tokens": tally.completion_tokens,
            "tokens_per_s": times["tokens_per_s"],
            "ttft_ms": round(first_s * 1000),
            "context": served.card.context,
            "dropped_messages": prepared.dropped,
            **mean_logprob(choice.tokens),
        },
        calls,
    )


def mean_logprob(tokens: Sequence[Any]) -> dict[str, float]:
    """How sure the model was of its words, for whoever reviews them."""
    if not tokens:
        return {}
    return {"mean_logprob": round(sum(token.logprob for token in tokens) / len(tokens), 4)}


async def _far(upstream: Upstream, ask: Ask) -> AsyncGenerator[Piece | End]:
    body = {
        "model": ask.model,
        "messages": [
            message.model_dump(exclude_none=True, exclude_defaults=False) for message in ask.messages
        ],
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "max_tokens": ask.max_tokens,
        "seed": ask.seed,
        **({"stop": list(ask.stop)} if ask.stop else {}),
        **({"continue_final_message": True, "add_generation_prompt": False} if ask.goes_on else {}),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first_s, finish, usage = time.perf_counter(), 0.0, "stop", dict[str, Any]()
    calls: dict[int, dict[str, Any]] = {}
    async for chunk in upstream.chunks("/chat/completions", body):
        usage = dict_of(chunk.get("usage")) or usage
        for choice in dicts_of(chunk.get("choices")):
            delta, finish = dict_of(choice.get("delta")), choice.get("finish_reason") or finish
            text = text_of(delta.get("content"))
            thought = next((found for name in REASONING if (found := text_of(delta.get(name)))), "")
            for part in dicts_of(delta.get("tool_calls")):
                add_part(calls, part)
            if text or thought:
                first_s = first_s or time.perf_counter() - began
                yield Piece(text, thought)
    written, elapsed_s = usage.get("completion_tokens"), time.perf_counter() - began
    yield End(
        finish,
        {
            "prompt_tokens": usage.get("prompt_tokens"),
            "completion_tokens": written,
            "tokens_per_s": round(written / elapsed_s, 1) if written else None,
            "ttft_ms": round(first_s * 1000),
        },
        [call for _, call in sorted(calls.items()) if call["function"]["name"]],
    )


# What another server sends is JSON of any shape: whatever is not what it should be is left out.


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts_of(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def add_part(calls: dict[int, dict[str, Any]], part: dict[str, Any]) -> None:
    """Join a piece of a tool call to its call: the first piece names it, others add to its arguments.

    Pieces belong together by their index. A server that sends none sends whole calls, or pieces one call after another.
    """
    given = dict_of(part.get("function"))
    name, arguments = text_of(given.get("name")), given.get("arguments")
    index = part.get("index")
    if not isinstance(index, int):
        index = place_of(calls, part.get("id"), begins=bool(name))
    new = {"id": part.get("id"), "type": "function", "function": {"name": "", "arguments": ""}}
    function = calls.setdefault(index, new)["function"]
    function["name"] += name
    if arguments is not None:
        function["arguments"] += (
            arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        )


def place_of(calls: dict[int, dict[str, Any]], call_id: Any, *, begins: bool) -> int:
    """Where a piece without an index belongs: to the call of its id, else to the last, unless it begins another."""
    last = max(calls, default=-1)
    if call_id:
        return next((at for at, call in calls.items() if call["id"] == call_id), last + 1)
    return last + 1 if begins or not calls else last


REASONING = ("reasoning_content", "reasoning", "reasoning_text")
"""Fields in which servers send it: vLLM and DeepSeek, OpenRouter, others."""


async def _thinking(pieces: AsyncGenerator[Piece | End]) -> AsyncGenerator[Piece | End]:
    """Text between the marks, at the beginning of an answer, as reasoning."""
    splitter = Thinking()
    async with contextlib.aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, End):
                if rest := splitter.end():
                    yield rest
                yield piece
            elif piece.reasoning:
                yield piece
            elif split := splitter.push(piece.text):
                yield split


class Thinking:
    """Separates reasoning from text. A mark that has arrived by half is held back."""

    def __init__(self) -> None:
        self._state, self._held = "begin", ""

    def push(self, text: str) -> Piece | None:
        if self._state == "text":
            return Piece(text) if text else None
        self._held += text
        if self._state == "begin":
            seen = self._held.lstrip()
            if seen.startswith(BEGIN):
                self._state, self._held = "thinking", seen.removeprefix(BEGIN)
            elif BEGIN.startswith(seen):
                return None
            else:
                self._state, self._held, text = "text", "", self._held
                return Piece(text)
        thought, mark, rest = self._held.partition(END)
        if mark:
            self._state, self._held = "text", ""
            return Piece(rest.lstrip("\n"), thought)
        kept = next((n for n in range(len(END) - 1, 0, -1) if thought.endswith(END[:n])), 0)
        self._held = thought[len(thought) - kept :]
        shown = thought[: len(thought) - kept]
        return Piece(reasoning=shown) if shown else None

    def end(self) -> Piece | None:
        held, self._held = self._held, ""
        if not held:
            return None
        return Piece(reasoning=held) if self._state == "thinking" else Piece(held)
