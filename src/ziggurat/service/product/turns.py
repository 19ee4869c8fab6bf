"""`/api/chats/{id}/turns` and the other answers that are asked for: each is begun here, and written by the server."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import chats, messages, turns
from ziggurat.product.objects import Chat, Turn
from ziggurat.product.objects import Message as Shown
from ziggurat.product.principal import Principal
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.bodies import Again, Edit, Empty, NewTurn
from ziggurat.service.product.house import House
from ziggurat.service.product.writing import begun, check_model, write
from ziggurat.workbench.review.intake import check_unreviewed


def turn_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats/{chat_id}", tags=["chats"]), house.services.limits

    @routes.post("/turns", **takes(NewTurn))
    async def new_turn(request: Request, chat_id: str) -> Response:
        body = await read_body(request, NewTurn, limits)
        principal, chat, model = await asked(house, request, chat_id, body.model)
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
        return await answered(house, request, principal, chat, turn)

    @routes.post("/messages/{message_id}/regenerate", **takes(Again))
    async def regenerate(request: Request, chat_id: str, message_id: str) -> Response:
        body = await read_body(request, Again, limits)
        principal, chat, model = await asked(house, request, chat_id, body.model)
        settings = body.settings.fields() if body.settings else None
        turn = await house.run(
            turns.regenerate, principal, chat_id, message_id, model=model, settings=settings
        )
        return await answered(house, request, principal, chat, turn)

    @routes.post("/messages/{message_id}/edit", **takes(Edit))
    async def edit(request: Request, chat_id: str, message_id: str) -> Response:
        body = await read_body(request, Edit, limits)
        principal = await house.who(request)
        model: str | None = None
        if body.run:
            principal, _, model = await asked(house, request, chat_id, body.model)
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
        return await answered(house, request, principal, chat, made)

    @routes.post("/messages/{message_id}/continue", **takes(Empty))
    async def go_on(request: Request, chat_id: str, message_id: str) -> Response:
        principal = await house.who(request)
        known = await house.run(messages.get_message, principal, chat_id, message_id)
        await house.run(check_unreviewed, principal.workspace_id, message_id)
        _, chat, _ = await asked(house, request, chat_id, known.model)
        turn = await house.run(turns.continue_answer, principal, chat_id, message_id)
        return await answered(house, request, principal, chat, turn)

    return routes


async def asked(
    house: House, request: Request, chat_id: str, model: str | None
) -> tuple[Principal, Chat, str]:
    """Who asks, in which chat, and which model answers; refused before anything is stored."""
    principal = await house.who(request)
    chat = await house.run(chats.get_chat, principal, chat_id)
    return principal, chat, await check_model(house, principal, model, chat)


async def answered(house: House, request: Request, principal: Principal, chat: Chat, turn: Turn) -> Response:
    """The 202 answer; the turn's answer is being written, unless an earlier request has begun it."""
    if turn.generation_id is not None and not turn.repeated:
        arrived = visit_of(request.scope).began
        await write(house, principal, chat, turn.answer, turn.generation_id, asked_at_s=arrived)
    return Json(begun(turn), 202)
