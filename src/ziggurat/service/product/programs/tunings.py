"""`/v1/fine_tuning/jobs`, as OpenAI has it: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from ziggurat.flywheel.release import releases
from ziggurat.flywheel.tuning import progress, tunings
from ziggurat.home import located
from ziggurat.places import find_run
from ziggurat.product.principal import Principal
from ziggurat.product.rights import require
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Id
from ziggurat.service.product.house import House
from ziggurat.service.product.programs.callers import principal_of
from ziggurat.service.product.programs.files import as_list

Limit = Annotated[int, Query(ge=1, le=100)]
Short = Annotated[str, StringConstraints(max_length=512)]


class Settings(BaseModel):
    """`auto` or a number for OpenAI's names; every other field is a setting of the stage, such as `train.steps`."""

    model_config = ConfigDict(extra="allow")

    hyperparameters: dict[str, Any] = {}


class Method(BaseModel):
    model_config = ConfigDict(extra="allow")

    type: str
    supervised: Settings | None = None
    dpo: Settings | None = None


class NewTuning(BaseModel):
    """OpenAI's body; unknown fields are ignored. `hyperparameters` beside `method` is its older form."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    training_file: Id
    validation_file: Id | None = None
    suffix: Annotated[str, StringConstraints(max_length=64)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    method: Method | None = None
    hyperparameters: dict[str, Any] | None = None
    metadata: Annotated[dict[Short, Short], Field(max_length=16)] | None = None
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    def settings(self) -> dict[str, Any]:
        inner = None if self.method is None else getattr(self.method, self.method.type, None)
        found = inner.hyperparameters if isinstance(inner, Settings) else {}
        return {**(self.hyperparameters or {}), **found}


def tuning_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"]), house.services.limits

    @routes.post("", **takes(NewTuning))
    async def create(request: Request) -> Response:
        principal, body = await principal_of(house, request), await read_body(request, NewTuning, limits)
        require(principal, "train")
        made = await house.run(
            tunings.create,
            principal,
            model=body.model,
            base=await base_of(house, principal, body.model),
            training_file=body.training_file,
            validation_file=body.validation_file,
            method=None if body.method is None else body.method.type,
            hyperparameters=body.settings(),
            suffix=body.suffix,
            seed=body.seed,
            metadata=body.metadata,
        )
        return Json(made.model_dump())

    @routes.get("")
    async def listed(request: Request, after: str | None = None, limit: Limit = 20) -> dict[str, Any]:
        principal = await principal_of(house, request)
        return as_list(*await house.run(tunings.listed, principal, after=after, limit=limit))

    @routes.get("/{job_id}")
    async def one(request: Request, job_id: str) -> dict[str, Any]:
        return (await house.run(tunings.get, await principal_of(house, request), job_id)).model_dump()

    @routes.post("/{job_id}/cancel")
    async def cancel(request: Request, job_id: str) -> dict[str, Any]:
        return (await house.run(tunings.cancel, await principal_of(house, request), job_id)).model_dump()

    @routes.post("/{job_id}/pause")
    async def pause(request: Request, job_id: str) -> dict[str, Any]:
        return (await house.run(tunings.pause, await principal_of(house, request), job_id)).model_dump()

    @routes.post("/{job_id}/resume")
    async def resume(request: Request, job_id: str) -> dict[str, Any]:
        return (await house.run(tunings.resume, await principal_of(house, request), job_id)).model_dump()

    @routes.get("/{job_id}/events")
    async def events(
        request: Request, job_id: str, after: str | None = None, limit: Limit = 20
    ) -> dict[str, Any]:
        principal = await principal_of(house, request)
        found, more = await house.run(progress.events, principal, job_id, after=after, limit=limit)
        return {"object": "list", "data": found, "has_more": more}

    @routes.get("/{job_id}/checkpoints")
    async def checkpoints(request: Request, job_id: str) -> dict[str, Any]:
        found = await house.run(progress.checkpoints, await principal_of(house, request), job_id)
        ends = {"first_id": found[0]["id"] if found else None, "last_id": found[-1]["id"] if found else None}
        return {"object": "list", "data": found, "has_more": False, **ends}

    return routes


async def base_of(house: House, principal: Principal, model: str) -> str:
    """The folder of a served model, or of the release that serves under this name.

    Raises:
        ApiError: 404 for an unknown model, 400 for one of another server, or one that is in no folder.
    """
    if house.services.upstreams.named(model) is not None:
        message = f"{model} is a model of another server; only models of this one can be fine-tuned."
        raise ApiError(400, message, param="model", code="model_not_supported")
    card = house.services.shelf[model].card
    if card.release:
        return str(located((await house.run(releases.get, principal.workspace_id, card.release)).model))
    if not card.run:
        raise ApiError(
            400, f"{model} was not loaded from a folder.", param="model", code="model_not_supported"
        )
    return str(find_run(card.run))
