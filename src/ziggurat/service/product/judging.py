"""What people think of answers: thumbs, better answers, picks of two, reports. All are judgements of one store."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import judgements
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Pick, Report, Rewrite, Thumb
from ziggurat.service.product.house import House


def judging_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats/{chat_id}", tags=["judgements"]), house.services.limits

    @routes.put("/messages/{message_id}/judgement", **takes(Thumb))
    async def thumb(request: Request, chat_id: str, message_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Thumb, limits)
        shown = await house.run(
            judgements.judge,
            principal,
            chat_id,
            message_id,
            value=body.value,
            reasons=body.reasons,
            comment=body.comment,
            seconds=body.seconds,
        )
        return {"message": shown.model_dump()}

    @routes.post("/messages/{message_id}/rewrite", **takes(Rewrite))
    async def rewrite(request: Request, chat_id: str, message_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Rewrite, limits)
        made = await house.run(
            judgements.rewrite, principal, chat_id, message_id, text=body.text, seconds=body.seconds
        )
        return Json(made.model_dump(), 201)

    @routes.post("/messages/{message_id}/report", **takes(Report))
    async def report(request: Request, chat_id: str, message_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Report, limits)
        made = await house.run(
            judgements.report, principal, chat_id, message_id, kind=body.kind, reason=body.reason
        )
        return Json(made.model_dump(), 201)

    @routes.post("/picks", **takes(Pick))
    async def pick(request: Request, chat_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Pick, limits)
        made, shown = await house.run(
            judgements.pick, principal, chat_id, shown=body.shown, winner=body.winner, seconds=body.seconds
        )
        models = [one.model for one in shown]
        answer = {"judgement": made.model_dump(), "messages": [one.model_dump() for one in shown]}
        return Json({**answer, "models": models}, 201)

    return routes
