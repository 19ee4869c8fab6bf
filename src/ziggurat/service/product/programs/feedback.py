"""`/v1/feedback` for programs, and `/api/feedback/metrics` for the page: metrics, comments, demonstrations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from ziggurat.product import feedback, metrics
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Body, Id
from ziggurat.service.product.house import House
from ziggurat.service.product.programs.callers import principal_of
from ziggurat.service.product.programs.recording import Recorder

MetricName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Days = Annotated[int, Query(ge=1, le=3650)]


class Feedback(Body):
    """`metric_name` is a declared metric, `comment` or `demonstration`."""

    metric_name: MetricName
    value: Any
    inference_id: Id | None = None
    episode_id: Id | None = None
    tags: Annotated[dict[str, str], Field(max_length=16)] | None = None


class NewMetric(Body):
    name: MetricName
    type: Literal["boolean", "float"]
    optimize: Literal["min", "max"] = "max"
    level: Literal["inference", "episode"] = "inference"
    description: Annotated[str, StringConstraints(max_length=2_000)] = ""


def feedback_routes(house: House, recorder: Recorder) -> APIRouter:
    routes, limits = APIRouter(prefix="/v1/feedback", tags=["feedback"]), house.services.limits

    @routes.post("", **takes(Feedback))
    async def give(request: Request) -> Response:
        principal, body = await principal_of(house, request), await read_body(request, Feedback, limits)
        await recorder.flush()
        given = await house.run(
            feedback.give,
            principal,
            name=body.metric_name,
            value=body.value,
            inference_id=body.inference_id,
            episode_id=body.episode_id,
            tags=body.tags,
            once=request.headers.get("idempotency-key"),
        )
        return Json(given.model_dump())

    @routes.get("/metrics")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(metrics.listed, await principal_of(house, request))
        return {"object": "list", "data": [one.model_dump() for one in found]}

    @routes.post("/metrics", **takes(NewMetric, status=201))
    async def declare(request: Request) -> Response:
        principal, body = await principal_of(house, request), await read_body(request, NewMetric, limits)
        return Json((await house.run(metrics.declare, principal, **body.model_dump())).model_dump(), 201)

    @routes.get("/metrics/{name}")
    async def read(request: Request, name: str, days: Days = 90) -> dict[str, Any]:
        principal = await principal_of(house, request)
        return (await house.run(metrics.report, principal, name, days=days)).model_dump()

    return routes


def metric_page_routes(house: House) -> APIRouter:
    """The same for people at the page."""
    routes, limits = APIRouter(prefix="/api/feedback/metrics", tags=["feedback"]), house.services.limits

    @routes.get("")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(metrics.listed, await house.who(request))
        return {"data": [one.model_dump() for one in found]}

    @routes.post("", **takes(NewMetric, status=201))
    async def declare(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewMetric, limits)
        return Json((await house.run(metrics.declare, principal, **body.model_dump())).model_dump(), 201)

    @routes.get("/{name}")
    async def read(request: Request, name: str, days: Days = 90) -> dict[str, Any]:
        principal = await house.who(request)
        return (await house.run(metrics.report, principal, name, days=days)).model_dump()

    return routes
