"""`/api/label`: agreement, adjudication, the review of answers, searching and acting on all that match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.product.errors import Invalid
from ziggurat.records import Message
from ziggurat.service.access.batches import in_batches
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.house import House
from ziggurat.service.product.labelling.quality_bodies import Bulk, Decided, Found, Reviewed, Scored
from ziggurat.workbench.labelling import adjudicating, finding, reviewing
from ziggurat.workbench.labelling.agreement_report import agreement

Cursor = Annotated[str | None, Query(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=200)]


def label_quality_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/label", tags=["labelling quality"]), house.services.limits

    @routes.get("/projects/{project_id}/agreement")
    async def report(request: Request, project_id: str) -> dict[str, Any]:
        return await house.run(agreement, await house.who(request), project_id)

    @routes.get("/projects/{project_id}/conflicts")
    async def conflicts(
        request: Request, project_id: str, cursor: Cursor = None, limit: Limit = 50
    ) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(adjudicating.queue, principal, project_id, cursor=cursor, limit=limit)
        return found.model_dump()

    @routes.get("/items/{item_id}/case")
    async def case(request: Request, item_id: str) -> dict[str, Any]:
        return await house.run(adjudicating.case, await house.who(request), item_id)

    @routes.post("/items/{item_id}/decision", **takes(Decided))
    async def decide(request: Request, item_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Decided, limits)
        made = await house.run(adjudicating.adjudicate, principal, item_id, **body.model_dump())
        return Json(made, 201)

    @routes.get("/projects/{project_id}/reviews")
    async def stream(
        request: Request,
        project_id: str,
        person_id: Annotated[str | None, Query(max_length=80)] = None,
        order: Annotated[Literal["new", "apart"], Query()] = "new",
        cursor: Cursor = None,
        limit: Limit = 20,
    ) -> dict[str, Any]:
        found = await house.run(
            reviewing.stream,
            await house.who(request),
            project_id,
            person_id=person_id,
            order=order,
            cursor=cursor,
            limit=limit,
        )
        return found.model_dump()

    @routes.get("/projects/{project_id}/reviews/figures")
    async def figures(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(reviewing.figures, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.post("/answers/{answer_id}/review", **takes(Reviewed))
    async def review(request: Request, answer_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Reviewed, limits)
        return Json(await house.run(reviewing.review, principal, answer_id, **body.model_dump()), 201)

    _finding_routes(house, routes)
    return routes


def _finding_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    def over_a_search(
        name: str, shape: type[Found] | type[Bulk], rule: Callable[..., dict[str, Any]], fields: Sequence[str]
    ) -> None:
        """A route whose body says which items of the project are meant, and what the rule is given beside them."""

        @routes.post(f"/projects/{{project_id}}/{name}", name=name, **takes(shape))
        async def route(request: Request, project_id: str) -> dict[str, Any]:
            principal, body = await house.who(request), await read_body(request, shape, limits)
            given = {field: getattr(body, field) for field in fields}
            return await house.run(rule, principal, project_id, where=body.where.fields(), **given)

    over_a_search("find", Found, finding.find, ("sort", "cursor", "limit"))
    over_a_search("bulk", Bulk, finding.act_on_all, ("act", "value", "expected"))

    @routes.post("/projects/{project_id}/scores", **takes(Scored))
    async def scores(request: Request, project_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Scored, limits)
        if (body.model is None) == (body.scores is None):
            raise Invalid("give either model, a reward model that is served here, or scores.", param="model")
        found = body.scores or await _scored(house, request, project_id, body)
        changed = await house.run(finding.set_scores, principal, project_id, found, first=body.first)
        return {"scored": changed}


async def _scored(house: House, request: Request, project_id: str, body: Scored) -> dict[str, list[float]]:
    """Item to the rewards of its completions, by a reward model of this server.

    Raises:
        ApiError: 404 where no reward model has the name.
    """
    principal, held = await house.who(request), house.services.shelf.judge(str(body.model))
    wanted = await house.run(finding.to_score, principal, project_id, limit=body.limit, again=body.again)
    held.worker.check_room()
    judge, found = held.worker.chat, {}
    for one in wanted:
        asked = [Message(role=turn["role"], content=turn["content"]) for turn in one["messages"]]
        pairs = [
            [*asked, Message(role="assistant", content=completion["content"])]
            for completion in one["completions"]
        ]
        rows = await anyio.to_thread.run_sync(judge.rows, pairs)
        found[one["item_id"]] = list(await in_batches(request, held.worker, rows, judge.score))
    return found
