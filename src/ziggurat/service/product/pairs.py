"""`/api/chats/{id}/pair`: one question and two answers, to choose between."""

from __future__ import annotations

import random
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import turns
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.bodies import NewPair
from ziggurat.service.product.house import House
from ziggurat.service.product.turns import asked
from ziggurat.service.product.writing import write


def pair_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/chats/{chat_id}", tags=["chats"]), house.services.limits

    @routes.post("/pair", **takes(NewPair))
    async def pair(request: Request, chat_id: str) -> Response:
        body = await read_body(request, NewPair, limits)
        principal, chat, first = await asked(house, request, chat_id, body.models[0] if body.models else None)
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
        arrived = visit_of(request.scope).began
        for shown, generation_id, model in zip(made.answers, made.generation_ids, models, strict=True):
            named = shown.model_copy(update={"model": model})
            await write(house, principal, chat, named, generation_id, asked_at_s=arrived)
        return Json(made.model_dump(), 202)

    return routes


def distinct(house: House) -> list[str]:
    """The models of this server that answer, each once: a channel is the release that it stands for, and of equal
    weights the first name counts."""
    found: dict[str, str] = {}
    for held in house.services.shelf:  # channels come first
        if not held.card.is_base:
            name = held.worker.name  # a channel's card has the channel's name
            found.setdefault(held.card.weights or name, name)
    return list(found.values())


def pair_of(house: House, first: str, wished: list[str] | None) -> tuple[tuple[str, str], dict[str, Any]]:
    """Two models for a pair, and how they were chosen: those that are wished, else twice the same or another one."""
    if wished is not None:
        for name in wished:
            if house.services.upstreams.named(name) is None:
                house.services.shelf[name]
        models, how = [wished[0], wished[1]], {"method": "named", "probability": 1.0, "order": "random"}
    else:
        others = distinct(house)
        second = random.choice(others or [first])
        models, how = (
            [first, second],
            {"method": "uniform", "probability": 1 / max(1, len(others)), "order": "random"},
        )
    random.shuffle(models)
    return (models[0], models[1]), how
