"""`/api/chats`: conversations, their messages, their trees."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.product import chats, deletion, messages
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import ChangedChat, Empty, Fork, NewChat
from ziggurat.service.product.house import House

Cursor = Annotated[str | None, Query(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=200)]


def conversation_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats", tags=["chats"]), house.services.limits

    @routes.get("")
    async def listed(
        request: Request,
        folder: str | None = None,
        archived: bool = False,
        trash: bool = False,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        page = await house.run(
            chats.list_chats,
            await house.who(request),
            folder_id=folder,
            archived=archived,
            trash=trash,
            cursor=cursor,
            limit=limit,
        )
        return page.model_dump()

    @routes.post("", **takes(NewChat))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewChat, limits)
        made = await house.run(chats.create_chat, principal, **body.fields())
        return Json(made.model_dump(), 201)

    @routes.delete("/trash")  # before /{chat_id}, which would match it
    async def empty_trash(request: Request) -> Response:
        return Json({"deleted": await house.run(deletion.empty_trash, await house.who(request))})

    @routes.get("/{chat_id}")
    async def opened(request: Request, chat_id: str, limit: Limit = 50) -> dict[str, Any]:
        found = await house.run(chats.open_chat, await house.who(request), chat_id, limit=limit)
        return found.model_dump()

    @routes.get("/{chat_id}/messages")
    async def earlier(request: Request, chat_id: str, before: str, limit: Limit = 50) -> dict[str, Any]:
        found = await house.run(messages.earlier, await house.who(request), chat_id, before, limit=limit)
        return found.model_dump()

    @routes.get("/{chat_id}/tree")
    async def tree(request: Request, chat_id: str) -> dict[str, Any]:
        found = await house.run(messages.tree, await house.who(request), chat_id)
        return found.model_dump()

    @routes.patch("/{chat_id}", **takes(ChangedChat))
    async def change(request: Request, chat_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedChat, limits)
        changed = await house.run(chats.change_chat, principal, chat_id, body.fields())
        return changed.model_dump()

    @routes.delete("/{chat_id}")
    async def delete(request: Request, chat_id: str, forever: bool = False) -> Response:
        principal = await house.who(request)
        for generation in house.generations.running(principal.person_id):
            if generation.chat_id == chat_id:
                await house.generations.stop(generation, None)
        if forever:
            await house.run(deletion.delete_chat, principal, chat_id)
            return Json({"deleted": True})
        trashed = await house.run(chats.trash_chat, principal, chat_id)
        return Json(trashed.model_dump())

    @routes.post("/{chat_id}/restore", **takes(Empty))
    async def restore(request: Request, chat_id: str) -> dict[str, Any]:
        restored = await house.run(chats.restore_chat, await house.who(request), chat_id)
        return restored.model_dump()

    @routes.post("/{chat_id}/fork", **takes(Fork))
    async def fork(request: Request, chat_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Fork, limits)
        made = await house.run(chats.fork_chat, principal, chat_id, body.message_id)
        return Json(made.model_dump(), 201)

    @routes.delete("/{chat_id}/messages/{message_id}")
    async def delete_message(request: Request, chat_id: str, message_id: str) -> dict[str, Any]:
        left = await house.run(deletion.delete_message, await house.who(request), chat_id, message_id)
        return left.model_dump()

    return routes
