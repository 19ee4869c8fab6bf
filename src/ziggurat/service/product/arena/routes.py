"""`/api/arena`: blind battles, their votes, the leaderboard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from ziggurat.product import battles, budgets, leaderboard
from ziggurat.product.rights import require
from ziggurat.records import Message
from ziggurat.service.http.body import read_body
from ziggurat.service.http.event_stream import EventStream
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.answering import Ask, drawn_seed
from ziggurat.service.product.arena.writing import streamed
from ziggurat.service.product.bodies import Body, ModelName, Seconds
from ziggurat.service.product.house import House
from ziggurat.service.product.pairs import distinct
from ziggurat.service.product.writing import counted
from ziggurat.workbench.review.intake import check_unreviewed

MAX_TOKENS = 512
"""Of each answer: two are read beside one another."""


class NewBattle(Body):
    """`among`: the models that may play; all that answer where it is missing."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=battles.MAX_QUESTION)]
    among: Annotated[list[ModelName], Field(min_length=2, max_length=200)] | None = None


class Vote(Body):
    winner: Literal["a", "b", "tie", "both_bad"]
    seconds: Seconds | None = None


def arena_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/arena", tags=["arena"]), house.services.limits

    @routes.get("/models")
    async def models(request: Request) -> dict[str, Any]:
        """Who may play. In a reviewed workspace nobody does: nothing is shown there before an expert has decided."""
        principal = await house.who(request)
        require(principal, "battle")
        await house.run(check_unreviewed, principal.workspace_id)
        return {"data": await players(house)}

    @routes.post("/battles", **takes(NewBattle, streams=True))
    async def begin(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewBattle, limits)
        require(principal, "battle")
        await house.run(check_unreviewed, principal.workspace_id)
        await house.run(budgets.check, principal)
        known = await players(house)
        if unknown := [name for name in body.among or () if name not in known]:
            message = f'"{unknown[0][:200]}" cannot play; there are {", ".join(known) or "none"}.'
            raise ApiError(404, message, param="among", code="model_not_found")
        seed = drawn_seed()
        pair, how = battles.draw(body.among or known, seed)
        question = [Message(role="user", content=body.text)]
        asked = await anyio.to_thread.run_sync(house.guard.before, question)
        counted(house, visit_of(request.scope), asked.counts(), asked)
        if asked.acts:
            raise ApiError(
                400, asked.text or "This question is refused.", param="text", code="content_filter"
            )
        battle = await house.run(battles.begin, principal, text=body.text, models=pair, how=how, seed=seed)
        asks = {
            side: Ask(
                model=model,
                messages=question,
                max_tokens=min(MAX_TOKENS, limits.max_tokens),
                seed=seed,
                owner=principal.person_id,
                salt=principal.person_id,
            )
            for side, model in zip(("a", "b"), pair, strict=True)
        }
        return EventStream(streamed(house, principal, battle, asks, asked, visit_of(request.scope)))

    @routes.get("/battles")
    async def mine(
        request: Request, cursor: str | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
    ) -> dict[str, Any]:
        principal = await house.who(request)
        return (await house.run(battles.mine, principal, cursor=cursor, limit=limit)).model_dump()

    @routes.get("/battles/{battle_id}")
    async def one(request: Request, battle_id: str) -> dict[str, Any]:
        return (await house.run(battles.get, await house.who(request), battle_id)).model_dump()

    @routes.post("/battles/{battle_id}/vote", **takes(Vote))
    async def vote(request: Request, battle_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Vote, limits)
        decided = await house.run(battles.vote, principal, battle_id, body.winner, seconds=body.seconds)
        return Json(decided.model_dump(), 201)

    @routes.get("/leaderboard")
    async def standings(
        request: Request, style: bool = False, lang: Literal["en", "zh", "other"] | None = None
    ) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(leaderboard.leaderboard, principal, style=style, lang=lang)
        return found.model_dump()

    return routes


async def players(house: House) -> list[str]:
    """Models that answer: of this server without base models, each once, and those of other servers."""
    return distinct(house) + [str(one["id"]) for one in await house.services.upstreams.models()]
