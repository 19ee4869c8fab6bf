"""The chat page's own API: which models there are, and one streamed answer.

`POST /api/chat` answers with Server-Sent Events, one JSON object each:

    data: {"text": "Mira is"}                    text to append, as it appears
    : waiting                                    (a comment, while the model is busy with somebody else)
    data: {"done": {"finish_reason": "stop", "usage": {...}, "seed": 7, "tokens_per_s": 180.2, ...}}
    data: {"error": {"message": "...", ...}}     instead of done, if the model failed half-way

A stream that ends with neither was cut on its way; the page says so. A conversation that has outgrown the model's
context loses its oldest turns, and `dropped_messages` says how many; the OpenAI half refuses it instead.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from ziggurat.service.access.gate import admit, salt_of
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE
from ziggurat.service.http.openapi import takes
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.openai.bodies import ChatBody, read_body, to_messages, to_params
from ziggurat.service.openai.streams import Tally, TicketStream, event, stream, timings


def chat_routes(shelf: Shelf) -> APIRouter:
    routes = APIRouter(prefix="/api")
    limits = shelf.limits

    @routes.get("/models")
    async def models() -> dict[str, Any]:
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
            cache_salt=salt_of(request),
        )
        prepared = await anyio.to_thread.run_sync(
            lambda: served.worker.chat.prepare(messages, params, fit=True)
        )
        (ticket,) = admit(request, served, [prepared])

        def done(tally: Tally) -> list[bytes]:
            summary = {
                "finish_reason": tally.choices[0].finish,
                "usage": tally.usage(),
                "seed": params.seed,
                "dropped_messages": prepared.dropped,
                **timings(ticket, tally),
            }
            return [event({"done": summary})]

        return await stream(
            request,
            ticket,
            pieces=lambda delta, _: [event({"text": delta.text})] if delta.text else [],
            tail=done,
            failed=lambda error: [event(error)],
            keepalive_s=limits.keepalive_s,
        )

    return routes
