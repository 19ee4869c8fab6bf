"""`GET /api/models`, and `POST /api/chat`: a temporary chat, whose messages are in the request and are stored nowhere.

The events are those of `service/api/answer_events.py`. Here the route also asks upstreams, spends the budget, and has
the guard before the answer and over it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import budgets
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.service.api import answer_events
from ziggurat.service.api.chat import offered
from ziggurat.service.http.body import read_body
from ziggurat.service.http.event_stream import EventStream, with_silences
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import describe
from ziggurat.service.http.wire import KEEPALIVE, event
from ziggurat.service.observe.visits import Visit, visit_of
from ziggurat.service.openai.bodies import ChatBody, to_messages
from ziggurat.service.product.answering import Ask, End, Piece, drawn_seed
from ziggurat.service.product.generations import Watches
from ziggurat.service.product.house import House
from ziggurat.service.product.writing import (
    check_model,
    counted,
    examined,
    nothing,
    outgoing,
    watches_of,
)
from ziggurat.workbench.review.intake import check_unreviewed, is_reviewed


def temporary_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api", tags=["temporary chats"]), house.services.limits

    @routes.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        found, principal = offered(house.services), await house.who(request)
        far = [far_model(one) for one in await house.services.upstreams.models()]
        reviewed = await house.run(is_reviewed, principal.workspace_id)
        return {**found, "models": [*found["models"], *far], "temporary": not reviewed}

    @routes.post("/chat", **takes(ChatBody, streams=True))
    async def chat(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, ChatBody, limits)
        require(principal, "chat")
        await house.run(check_unreviewed, principal.workspace_id)
        model = await check_model(house, principal, body.model)
        ask = Ask(
            model=model,
            messages=to_messages(body.messages, limits),
            temperature=body.temperature,
            top_p=body.top_p,
            max_tokens=min(body.max_tokens or DEFAULT_MAX_TOKENS, limits.max_tokens),
            seed=drawn_seed() if body.seed is None else body.seed,
            owner=principal.person_id,
            salt=principal.person_id,
        )
        asked = await anyio.to_thread.run_sync(house.guard.before, examined(ask.messages))
        visit = visit_of(request.scope)
        counted(house, visit, asked.counts(), asked)
        pieces = nothing() if asked.acts else outgoing(house, principal, ask)
        watches = watches_of(house, asked)
        return EventStream(streamed(house, principal, ask, pieces, watches, limits.keepalive_s, visit))

    return routes


def far_model(listed: dict[str, Any]) -> dict[str, Any]:
    """A model of an upstream, in the shape of a card."""
    return {
        "name": listed["id"],
        "stage": "",
        "run": "",
        "parameters": None,
        "is_base": False,
        "context": listed.get("max_model_len"),
        "description": "",
        "licence": "",
        "upstream": str(listed.get("owned_by") or ""),
    }


async def streamed(
    house: House,
    principal: Principal,
    ask: Ask,
    pieces: AsyncGenerator[Piece | End],
    watches: Watches,
    keepalive_s: float,
    visit: Visit,
) -> AsyncIterator[bytes]:
    """The events of one answer. When the reader leaves, the model's work ends."""
    end, written = End("stop"), 0
    try:
        async with contextlib.aclosing(with_silences(pieces, keepalive_s)) as arriving:
            async for piece in arriving:
                if piece is None:
                    yield KEEPALIVE
                    continue
                if isinstance(piece, End):
                    end = piece
                    break
                written += 1
                for sent in answer_events.written(*watches.feed(piece.text, piece.reasoning)):
                    yield sent
                if watches.decision is not None:
                    break
        if watches.decision is None:
            for sent in answer_events.written(*watches.end()):
                yield sent
        if watches.decision is not None:
            yield event({"text": watches.replacement})
            end = End("content_filter", end.usage)
        counted(house, visit, watches.counts(), watches.decision)
        yield done(end, ask, None if watches.decision is None else watches.decision.record())
    except Exception as error:
        yield event(describe(error)[1])
    finally:
        used = end.usage
        await asyncio.shield(
            house.run(
                budgets.spend,
                principal,
                prompt_tokens=int(used.get("prompt_tokens") or 0),
                completion_tokens=int(used.get("completion_tokens") or written),
            )
        )


def done(end: End, ask: Ask, guard: dict[str, str | None] | None) -> bytes:
    usage = {name: end.usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    return answer_events.done(
        finish_reason=end.finish_reason,
        usage={**usage, "total_tokens": sum(value or 0 for value in usage.values())},
        seed=ask.seed,
        dropped_messages=end.usage.get("dropped_messages") or 0,
        speed={
            "tokens_per_s": end.usage.get("tokens_per_s"),
            "first_token_s": (end.usage.get("ttft_ms") or 0) / 1000,
        },
        guard=guard,
    )
