"""`/api/chats/{id}/generations`: an answer that the server writes, as readers follow it and stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import generations as kept
from ziggurat.product import messages
from ziggurat.product.errors import NotFound
from ziggurat.product.principal import Principal
from ziggurat.service.http.body import read_body
from ziggurat.service.http.event_stream import EventStream
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import KEEPALIVE, Json, event
from ziggurat.service.product.bodies import Stop
from ziggurat.service.product.generations import Generation
from ziggurat.service.product.house import House


def following_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats/{chat_id}", tags=["chats"]), house.services.limits

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
        return EventStream(written)

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
