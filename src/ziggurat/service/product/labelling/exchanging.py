"""`/api/label`: import, trees and webhooks; `/api/judgements`: export in every format."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.corpus.formats.writing import SHAPES
from ziggurat.flywheel.exchange.export import export
from ziggurat.flywheel.exchange.others import OTHERS
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.product.house import House
from ziggurat.service.product.labelling.quality_bodies import (
    ChangedHook,
    Exported,
    NewHook,
    NewTreeProjects,
    Planted,
    TreeMoved,
)
from ziggurat.service.product.things import attachment
from ziggurat.workbench.labelling import hooks, tree_leading
from ziggurat.workbench.labelling.importing import MAX_BYTES, import_file
from ziggurat.workbench.labelling.screening import Screening

UPLOAD = "application/octet-stream"


def label_exchange_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api", tags=["labelling exchange"]), house.services.limits

    @routes.get("/judgements/formats")
    async def formats(request: Request) -> dict[str, Any]:
        await house.who(request)
        shaped = [
            {"name": one.name, "of": one.kind.__name__.lower(), "project": False, "notes": list(one.notes)}
            for one in SHAPES.values()
        ]
        others = [
            {"name": name, "of": "project", "project": name in ("argilla", "oasst"), "notes": []}
            for name in OTHERS
        ]
        return {"data": [*shaped, *others], "next": None}

    @routes.post("/judgements/export", **takes(Exported))
    async def out(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, Exported, limits)
        made = await house.run(
            export, principal, body.format, project_id=body.project_id, settings=body.settings
        )
        if body.preview:
            return Json(made.card)
        headers = {"content-disposition": attachment(f"{made.name}.zip")}
        return Response(made.zipped(), media_type="application/zip", headers=headers)

    @routes.post("/label/projects/{project_id}/import")
    async def take_in(
        request: Request,
        project_id: str,
        name: Annotated[str, Query(min_length=1, max_length=300)],
        dry_run: Annotated[bool, Query()] = True,
        private_data: Annotated[Literal["mark", "mask", "leave_out", "keep"], Query()] = "mark",
        person_cap: Annotated[int, Query(ge=1, le=1_000_000)] = 200,
        near_duplicates: Annotated[bool, Query()] = True,
        split: Annotated[bool, Query()] = False,
        keep_answers: Annotated[bool, Query()] = False,
    ) -> Response:
        """The file is the body, of the type application/octet-stream; its name says what it is."""
        principal, data = await house.who(request), await _uploaded(request)
        rules = Screening(
            private_data=private_data,
            person_cap=person_cap,
            near_duplicates=near_duplicates,
            split={"train": 0.8, "valid": 0.1, "test": 0.1} if split else None,
        )
        found = await house.run(
            import_file,
            principal,
            project_id,
            data,
            name=name,
            dry_run=dry_run,
            rules=rules,
            keep_answers=keep_answers,
        )
        return Json(found, 200 if dry_run else 201)

    _tree_routes(house, routes)
    _hook_routes(house, routes)
    return routes


async def _uploaded(request: Request) -> bytes:
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared != UPLOAD:
        raise ApiError(415, f"Content-Type is {declared or 'missing'}; send the file as {UPLOAD}.")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BYTES:
            message = f"The file is larger than {MAX_BYTES:,} bytes; import it in parts."
            raise ApiError(413, message, code="request_too_large")
    return bytes(data)


def _tree_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.post("/label/trees/projects", **takes(NewTreeProjects))
    async def projects(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewTreeProjects, limits)
        made = await house.run(tree_leading.create_tree_projects, principal, **body.model_dump())
        return Json({"steps": made}, 201)

    @routes.post("/label/trees", **takes(Planted))
    async def plant(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, Planted, limits)
        steps = {str(step): project_id for step, project_id in body.steps.items()}
        made = await house.run(
            tree_leading.plant,
            principal,
            steps,
            body.prompts,
            lang=body.lang,
            settings=body.settings.model_dump(),
        )
        return Json({"trees": made}, 201)

    @routes.get("/label/projects/{project_id}/trees")
    async def listed(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(tree_leading.list_trees, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.get("/label/trees/{tree_id}")
    async def one(request: Request, tree_id: str) -> dict[str, Any]:
        return await house.run(tree_leading.get_tree, await house.who(request), tree_id)

    @routes.patch("/label/trees/{tree_id}", **takes(TreeMoved))
    async def move(request: Request, tree_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, TreeMoved, limits)
        return await house.run(tree_leading.set_tree_state, principal, tree_id, body.state)


def _hook_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/label/webhooks")
    async def listed(
        request: Request, project_id: Annotated[str | None, Query(max_length=80)] = None
    ) -> dict[str, Any]:
        found = await house.run(hooks.list_hooks, await house.who(request), project_id=project_id)
        return {"data": found, "next": None}

    @routes.post("/label/webhooks", **takes(NewHook))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewHook, limits)
        return Json(await house.run(hooks.create_hook, principal, **body.model_dump()), 201)

    @routes.patch("/label/webhooks/{hook_id}", **takes(ChangedHook))
    async def change(request: Request, hook_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedHook, limits)
        return await house.run(hooks.change_hook, principal, hook_id, body.fields())

    @routes.delete("/label/webhooks/{hook_id}")
    async def delete(request: Request, hook_id: str) -> Response:
        await house.run(hooks.delete_hook, await house.who(request), hook_id)
        return Json({"deleted": True})

    @routes.post("/label/messages/{delivery_id}/again")
    async def again(request: Request, delivery_id: str) -> Response:
        await house.run(hooks.send_again, await house.who(request), delivery_id)
        return Json({"queued": True})
