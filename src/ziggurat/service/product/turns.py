"""`/api/chats/{id}/turns` and what else a model answers: begun here, written by the server, followed by readers."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from ziggurat.product import chats, messages, turns
from ziggurat.product import generations as kept
from ziggurat.product.errors import NotFound
from ziggurat.product.objects import Chat, Turn
from ziggurat.product.objects import Message as Shown
from ziggurat.product.principal import Principal
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import KEEPALIVE, Json, event
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.bodies import Again, Edit, Empty, NewPair, NewTurn, Stop
from ziggurat.service.product.generations import Generation
from ziggurat.service.product.house import House
from ziggurat.service.product.writing import begun, check_model, write


def turn_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats/{chat_id}", tags=["chats"]), house.services.limits

    async def asked(request: Request, chat_id: str, model: str | None) -> tuple[Principal, Chat, str]:
        """Who asks, in which chat, and which model shall answer; refused before anything is stored."""
        principal = await house.who(request)
        chat = await house.run(chats.get_chat, principal, chat_id)
        return principal, chat, await check_model(house, principal, model, chat)

    async def answered(request: Request, principal: Principal, chat: Chat, turn: Turn) -> Response:
        if turn.generation_id is not None and not turn.repeated:
            await write(
                house,
                principal,
                chat,
                turn.answer,
                turn.generation_id,
                asked_at_s=visit_of(request.scope).began,
            )
        return Json(begun(turn), 202)

    @routes.post("/turns", **takes(NewTurn))
    async def new_turn(request: Request, chat_id: str) -> Response:
        body = await read_body(request, NewTurn, limits)
        principal, chat, model = await asked(request, chat_id, body.model)
        turn = await house.run(
            turns.begin_turn,
            principal,
            chat_id,
            text=body.text,
            parent_id=body.parent_id,
            model=model,
            settings=body.settings.fields() if body.settings else None,
            client_id=body.client_id,
        )
        return await answered(request, principal, chat, turn)

    @routes.post("/messages/{message_id}/regenerate", **takes(Again))
    async def regenerate(request: Request, chat_id: str, message_id: str) -> Response:
        body = await read_body(request, Again, limits)
        principal, chat, model = await asked(request, chat_id, body.model)
        settings = body.settings.fields() if body.settings else None
        turn = await house.run(
            turns.regenerate, principal, chat_id, message_id, model=model, settings=settings
        )
        return await answered(request, principal, chat, turn)

    @routes.post("/messages/{message_id}/edit", **takes(Edit))
    async def edit(request: Request, chat_id: str, message_id: str) -> Response:
        body = await read_body(request, Edit, limits)
        principal = await house.who(request)
        model: str | None = None
        if body.run:
            principal, _, model = await asked(request, chat_id, body.model)
        made = await house.run(
            turns.edit_message,
            principal,
            chat_id,
            message_id,
            text=body.text,
            run=body.run,
            model=model,
            settings=body.settings.fields() if body.settings else None,
        )
        if isinstance(made, Shown):
            return Json({"message": made.model_dump()}, 201)
        chat = await house.run(chats.get_chat, principal, chat_id)
        return await answered(request, principal, chat, made)

    @routes.post("/messages/{message_id}/continue", **takes(Empty))
    async def go_on(request: Request, chat_id: str, message_id: str) -> Response:
        principal = await house.who(request)
        known = await house.run(messages.get_message, principal, chat_id, message_id)
        _, chat, _ = await asked(request, chat_id, known.model)
        turn = await house.run(turns.continue_answer, principal, chat_id, message_id)
        return await answered(request, principal, chat, turn)

    @routes.post("/pair", **takes(NewPair))
    async def pair(request: Request, chat_id: str) -> Response:
        body = await read_body(request, NewPair, limits)
        principal, chat, first = await asked(request, chat_id, body.models[0] if body.models else None)
        models, how = pair_of(house, first, body.models)
        made = await house.run(
            turns.begin_pair,
            principal,
            chat_id,
            text=body.text,
            parent_id=body.parent_id,
            models=models,
            settings=body.settings.fields() if body.settings else None,
            chosen_how=how,
        )
        for shown, generation_id, model in zip(made.answers, made.generation_ids, models, strict=True):
            named = shown.model_copy(update={"model": model})
            await write(
                house,
                principal,
                chat,
                named,
                generation_id,
                asked_at_s=visit_of(request.scope).began,
            )
        return Json(made.model_dump(), 202)

    @routes.get("/generations/{generation_id}/events")
    async def events(request: Request, chat_id: str, generation_id: str, after: int = 0) -> Response:
        principal = await house.who(request)
        await house.run(kept.get_generation, principal, chat_id, generation_id)  # whose it is
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isdecimal() else after
        live = house.generations.find(generation_id)
        written = (
            followed(live, after, limits.keepalive_s)
            if live is not None
            else await ended(house, principal, chat_id, generation_id)
        )
        return StreamingResponse(
            written,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    @routes.post("/generations/{generation_id}/stop", **takes(Stop))
    async def stop(request: Request, chat_id: str, generation_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Stop, limits)
        known = await house.run(kept.get_generation, principal, chat_id, generation_id)
        live = house.generations.find(generation_id)
        if live is None or not await house.generations.stop(live, body.seen_chars):
            # it had ended while the reader had not seen it: the rules cut it to what was seen, for a while
            await house.run(kept.stop, principal, chat_id, generation_id, seen_chars=body.seen_chars)
        shown = await house.run(messages.get_message, principal, chat_id, known.message_id)
        return Json({"message": shown.model_dump()})

    return routes


def pair_of(house: House, first: str, wished: list[str] | None) -> tuple[tuple[str, str], dict[str, Any]]:
    """Two models for a pair, and how they were chosen: those that are wished, else twice the same or another one."""
    if wished is not None:
        for name in wished:
            if house.services.upstreams.named(name) is None:
                house.services.shelf[name]
        models, how = [wished[0], wished[1]], {"method": "named", "probability": 1.0, "order": "random"}
    else:
        others = [held.card.name for held in house.services.shelf if not held.card.is_base]
        second = random.choice(others or [first])
        models, how = (
            [first, second],
            {"method": "uniform", "probability": 1 / max(1, len(others)), "order": "random"},
        )
    random.shuffle(models)
    return (models[0], models[1]), how


async def followed(live: Generation, after: int, keepalive_s: float) -> AsyncIterator[bytes]:
    async for entry in live.follow(after, keepalive_s):
        yield KEEPALIVE if entry is None else numbered(*entry)


def numbered(number: int, data: dict[str, Any]) -> bytes:
    return f"id: {number}\n".encode() + event(data)


async def ended(house: House, principal: Principal, chat_id: str, generation_id: str) -> AsyncIterator[bytes]:
    """An answer that this process does not write: its message as the store has it."""
    known = await house.run(kept.get_generation, principal, chat_id, generation_id)
    shown = await house.run(messages.get_message, principal, chat_id, known.message_id)
    if known.status == "running":
        raise NotFound("This answer is being written by another process; ask again when it has ended.")

    async def last() -> AsyncIterator[bytes]:
        yield numbered(known.seq + 1, {"type": "done", "message": shown.model_dump()})

    return last()
