"""`GET .../why`: what a model was asked exactly, and how likely each token of its answer was.

The answer is read again under the same prompt, so the figures are those of the model's own distribution at temperature
1, whatever the answer was sampled with. An upstream shows neither; then `tokens` is empty and `prompt` null.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from ziggurat.dialogue.forms import Rendering
from ziggurat.engine.params import SamplingParams
from ziggurat.flywheel import examples, overview
from ziggurat.product import budgets, chats, messages
from ziggurat.product.errors import Conflict
from ziggurat.records import Message
from ziggurat.service.models.shelf import Served
from ziggurat.service.openai.logprobs import finite
from ziggurat.service.product.answering import Ask
from ziggurat.service.product.house import House
from ziggurat.service.product.writing import ask_of

ALTERNATIVES = 5


def why_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/chats/{chat_id}", tags=["chats"])

    @routes.get("/messages/{message_id}/why")
    async def why(request: Request, chat_id: str, message_id: str) -> dict[str, Any]:
        principal = await house.who(request)
        await house.run(budgets.check, principal)
        chat = await house.run(chats.get_chat, principal, chat_id)
        shown = await house.run(messages.get_message, principal, chat_id, message_id)
        if (
            shown.role != "assistant"
            or shown.parent_id is None
            or not shown.model
            or shown.state == "running"
        ):
            raise Conflict("Only a finished answer of a model can be explained.", code="not_an_answer")
        path = await house.run(messages.conversation, principal, chat_id, shown.parent_id)
        kept = await house.run(overview.examples_of, principal, shown.id)
        path, added = await house.run(examples.put_before, principal.workspace_id, path, kept)
        ask = ask_of(principal, chat, shown, path)
        ask = replace(ask, goes_on=False, seed=ask.seed if shown.seed is None else shown.seed)
        shelf, wrote = house.services.shelf, await house.run(overview.release_named, principal, shown.id)
        explained: dict[str, Any] = {"prompt": None, "tokens": []}
        if house.services.upstreams.named(ask.model) is None:
            held = wrote if wrote in {one.card.name for one in shelf} else None
            name = held or shelf.resolve(ask.model, principal.person_id)
            explained = await read_again(shelf[name], ask, shown.content)
        needs_key = house.mode == "accounts" or house.services.keyring is not None
        command = curl(str(request.base_url), ask, needs_key=needs_key)
        return {
            **explained,
            "seed": shown.seed,
            "curl": command,
            "needs_key": needs_key,
            "examples": [one._asdict() for one in added],
            "examples_withdrawn": len(kept) - len(added),
        }

    return routes


async def read_again(served: Served, ask: Ask, answer: str) -> dict[str, Any]:
    """The prompt as text, and each token of `answer` with its log-probability (nats) and the likeliest others."""
    chat = served.worker.chat
    whole = [*ask.messages, Message(role="assistant", content=answer)]
    going_on = Rendering(continue_final=True, add_generation_prompt=False)
    params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=ALTERNATIVES, cache_salt=ask.salt)

    def prepare() -> tuple[int, Any]:
        asked = chat.prompts.ids(list(ask.messages))
        ids = chat.prompts.ids(whole, rendering=going_on) if answer else asked
        return len(asked), chat.prepare_raw(ids[: chat.context - 1], params)

    begin, prepared = await anyio.to_thread.run_sync(prepare)
    ticket, tokens = served.worker.submit(prepared, ask.owner), list[Any]()
    try:
        while (delta := await ticket.next()) is not None:
            tokens += delta.prompt
    finally:
        ticket.cancel()
    name = chat.tokenizer.piece
    return {
        "prompt": chat.tokenizer.decode(prepared.ids[:begin], skip_special=False),
        "tokens": [
            {
                "text": name(token.id),
                "logprob": finite(token.logprob if token.logprob is not None else 0.0),
                "top": [{"text": name(id), "logprob": finite(value)} for id, value in token.top],
            }
            for token in tokens[begin:]
        ],
    }


def curl(base_url: str, ask: Ask, *, needs_key: bool) -> str:
    """A command that asks for the same answer over the API. The key stays in the shell's $ZIGGURAT_KEY: a command is
    copied into notes and bug reports."""
    body = {
        "model": ask.model,
        "messages": [one.model_dump(exclude_none=True) for one in ask.messages],
        "temperature": ask.temperature,
        "top_p": ask.top_p,
        "max_tokens": ask.max_tokens,
        "seed": ask.seed,
        **({"stop": list(ask.stop)} if ask.stop else {}),
    }
    data = shlex.quote(json.dumps(body, ensure_ascii=False))
    key = ' -H "Authorization: Bearer $ZIGGURAT_KEY"' if needs_key else ""
    return f"curl {base_url}v1/chat/completions{key} -H 'content-type: application/json' -d {data}"
