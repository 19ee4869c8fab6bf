"""`/api/exam`: the leaderboard of models that sat, advice for a task, people's time with and without the assistant."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import StringConstraints
from starlette.responses import Response

from ziggurat.exam import leaderboard, productivity, suitable
from ziggurat.product.rights import require
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Body
from ziggurat.service.product.house import House


class Wanted(Body):
    """A task in a person's own words."""

    task: Annotated[str, StringConstraints(min_length=1, max_length=suitable.MOST_TEXT)]


async def models_of(house: House) -> list[str]:
    """The models that this server offers, its own and those of other servers."""
    own = [
        name
        for served in house.services.shelf
        for name in (served.card.name, served.card.run, served.worker.name)
    ]
    return own + [str(one["id"]) for one in await house.services.upstreams.models()]


def exam_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/exam", tags=["exam"]), house.services.limits

    @routes.get("/leaderboard")
    async def standings(request: Request) -> dict[str, Any]:
        """Models that sat an exam or have votes in the arena, and published tables for reference: for readers of
        judgements all of this machine, for others those that are offered to them."""
        principal = await house.who(request)
        return (await house.run(leaderboard.of_store, principal, await models_of(house))).model_dump()

    @routes.get("/suitable")
    async def lists(request: Request) -> dict[str, Any]:
        """For what models are suitable and for what not, and what the exam of each model says of it."""
        principal = await house.who(request)
        found = await house.run(leaderboard.of_store, principal, await models_of(house))
        return {
            "entries": [one.model_dump(exclude={"words"}) for one in suitable.entries()],
            "careful": [one.model_dump(exclude={"words"}) for one in suitable.careful()],
            "models": [
                {
                    "model": one.model,
                    "sha256": one.sha256,
                    "lines": [line.model_dump() for line in suitable.table(found.columns, one.figures)],
                }
                for one in found.models
                if one.figures
            ],
        }

    @routes.post("/advice", **takes(Wanted))
    async def advice(request: Request) -> Response:
        """Whether a task is one for a language model, and why."""
        principal, body = await house.who(request), await read_body(request, Wanted, limits)
        require(principal, "battle")
        return Json(suitable.advise(body.task).model_dump())

    @routes.get("/productivity")
    async def times(request: Request, days: Annotated[int, Query(ge=1, le=3_650)] = 90) -> dict[str, Any]:
        """Time and quality of people's work with a draft of the model and without one."""
        principal = await house.who(request)
        return (await house.run(productivity.productivity, principal, days=days)).model_dump()

    return routes
