"""The chat page's own API: the list of models, and one streamed answer (its events: `answer_events.py`).

If a conversation is longer than the model's context, its oldest messages are dropped, and `dropped_messages` is their
number; OpenAI's endpoints refuse it instead.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from ziggurat.service.access.caller import caller
from ziggurat.service.api import answer_events
from ziggurat.service.guarded import examined, let_in
from ziggurat.service.http.body import read_body
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import event
from ziggurat.service.openai.bodies import ChatBody, to_messages, to_params
from ziggurat.service.openai.streams import Tally, TicketStream, stream, timings
from ziggurat.service.services import Services


def chat_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/api")
    shelf, limits = services.shelf, services.limits

    @routes.get("/models")
    async def models() -> dict[str, Any]:
        return offered(services)

    @routes.post("/chat", **takes(ChatBody, streams=True))
    async def chat(request: Request) -> TicketStream:
        body = await read_body(request, ChatBody, limits)
        served = shelf[body.model]
        served.worker.check_room()
        messages = to_messages(body.messages, limits)
        params = to_params(
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=body.max_tokens,
            seed=body.seed,
            limits=limits,
            cache_salt=caller(request).salt,
        )
        prepared = await anyio.to_thread.run_sync(
            lambda: served.worker.chat.prepare(messages, params, fit=True)
        )
        asked = await examined(services, messages)
        (ticket,) = let_in(request, services, served, [prepared], [asked], whole=False)

        def done(tally: Tally) -> list[bytes]:
            last = answer_events.done(
                finish_reason=tally.choices[0].finish,
                usage=tally.usage(),
                seed=params.seed,
                dropped_messages=prepared.dropped,
                speed=timings(ticket, tally),
                guard=tally.choices[0].guard,
            )
            return [last]

        return await stream(
            request,
            ticket,
            pieces=lambda delta, _: answer_events.written(delta.text),
            tail=done,
            failed=lambda error: [event(error)],
            keepalive_s=limits.keepalive_s,
        )

    return routes


def offered(services: Services) -> dict[str, Any]:
    """The models of this server, examples, defaults and limits."""
    shelf, limits = services.shelf, services.limits
    return {
        "models": [served.card.model_dump() for served in shelf],
        "examples": [example.model_dump() for example in shelf.examples],
        "defaults": {
            "temperature": DEFAULT_TEMPERATURE,
            "max_tokens": min(DEFAULT_MAX_TOKENS, limits.max_tokens),
        },
        "limits": {
            "max_tokens": limits.max_tokens,
            "max_messages": limits.max_messages,
            "max_message_chars": limits.max_message_chars,
        },
    }
