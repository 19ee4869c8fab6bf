"""`/api/label`: what a lead uses. Projects, guidelines, items, people, progress."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Empty
from ziggurat.service.product.house import House
from ziggurat.service.product.labelling.bodies import (
    Assigned,
    ChangedItem,
    ChangedMember,
    ChangedProject,
    Flagged,
    FromChats,
    Graded,
    NewGuidelines,
    NewItems,
    NewMember,
    NewProject,
    Sampled,
)
from ziggurat.service.product.labelling.sampling import sample
from ziggurat.workbench.labelling import (
    assigning,
    guidelines,
    items,
    members,
    progress,
    projects,
    sources,
    templates,
)

Kind = Literal["work", "gold", "training", "test"]
Status = Literal["pending", "in_progress", "completed", "conflicted", "adjudicated", "halted"]


def label_lead_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/label", tags=["labelling projects"]), house.services.limits

    @routes.get("/templates")
    async def ready_made(request: Request) -> dict[str, Any]:
        await house.who(request)
        return {"data": [one.model_dump() for one in templates.all_templates()], "next": None}

    @routes.get("/projects")
    async def listed(request: Request, archived: Annotated[bool, Query()] = False) -> dict[str, Any]:
        found = await house.run(projects.list_projects, await house.who(request), archived=archived)
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/projects", **takes(NewProject))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewProject, limits)
        made = await house.run(projects.create_project, principal, **body.model_dump())
        return Json(made.model_dump(), 201)

    @routes.get("/projects/{project_id}")
    async def one(request: Request, project_id: str) -> dict[str, Any]:
        return (await house.run(projects.get_project, await house.who(request), project_id)).model_dump()

    @routes.patch("/projects/{project_id}", **takes(ChangedProject))
    async def change(request: Request, project_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedProject, limits)
        return (await house.run(projects.change_project, principal, project_id, body.fields())).model_dump()

    @routes.delete("/projects/{project_id}")
    async def delete(request: Request, project_id: str) -> Response:
        await house.run(projects.delete_project, await house.who(request), project_id)
        return Json({"deleted": True})

    @routes.get("/projects/{project_id}/versions")
    async def versions(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(projects.versions, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.post("/projects/{project_id}/guidelines", **takes(NewGuidelines))
    async def write(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewGuidelines, limits)
        made = await house.run(
            guidelines.write_guidelines,
            principal,
            project_id,
            texts={str(lang): text for lang, text in body.texts.items()},
            note=body.note,
            acknowledge=body.acknowledge,
        )
        return Json(made.model_dump(), 201)

    @routes.get("/projects/{project_id}/progress")
    async def how_far(request: Request, project_id: str) -> dict[str, Any]:
        return await house.run(progress.of_project, await house.who(request), project_id)

    _item_routes(house, routes)
    _people_routes(house, routes)
    return routes


def _item_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/projects/{project_id}/items")
    async def listed(
        request: Request,
        project_id: str,
        kind: Annotated[Kind | None, Query()] = None,
        status: Annotated[Status | None, Query()] = None,
        lang: Annotated[str | None, Query(max_length=16)] = None,
        cursor: Annotated[str | None, Query(max_length=300)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> dict[str, Any]:
        found = await house.run(
            items.list_items,
            await house.who(request),
            project_id,
            kind=kind,
            status=status,
            lang=lang,
            cursor=cursor,
            limit=limit,
        )
        return found.model_dump()

    @routes.post("/projects/{project_id}/items", **takes(NewItems))
    async def add(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewItems, limits)
        return Json(await house.run(items.add_items, principal, project_id, body.items), 201)

    @routes.post("/projects/{project_id}/items/chats", **takes(FromChats))
    async def from_chats(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, FromChats, limits)
        return Json(await house.run(sources.from_chats, principal, project_id, **body.model_dump()), 201)

    @routes.post("/projects/{project_id}/items/samples", **takes(Sampled))
    async def from_model(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Sampled, limits)
        return Json(await sample(house, principal, project_id, body), 201)

    @routes.get("/items/{item_id}")
    async def one(request: Request, item_id: str) -> dict[str, Any]:
        return (await house.run(items.get_item, await house.who(request), item_id)).model_dump()

    @routes.patch("/items/{item_id}", **takes(ChangedItem))
    async def change(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedItem, limits)
        return (await house.run(items.change_item, principal, item_id, body.fields())).model_dump()

    @routes.post("/projects/{project_id}/assign", **takes(Assigned))
    async def assign(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Assigned, limits)
        made = await house.run(
            assigning.assign, principal, project_id, item_ids=body.items, person_ids=body.people
        )
        return Json({"assigned": made}, 201)


def _people_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/projects/{project_id}/people")
    async def listed(request: Request, project_id: str) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(progress.people_of, principal, project_id)
        others = await house.run(progress.candidates, principal, project_id)
        return {"data": [one.model_dump() for one in found], "candidates": others, "next": None}

    @routes.post("/projects/{project_id}/people", **takes(NewMember))
    async def add(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewMember, limits)
        await house.run(members.add_member, principal, project_id, body.person_id, skills=body.skills)
        return Json({"added": True}, 201)

    @routes.patch("/projects/{project_id}/people/{person_id}", **takes(ChangedMember))
    async def change(request: Request, project_id: str, person_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, ChangedMember, limits)
        await house.run(members.change_member, principal, project_id, person_id, body.fields())
        return Json({"changed": True})

    @routes.post("/projects/{project_id}/people/{person_id}/flags", **takes(Flagged))
    async def flag(request: Request, project_id: str, person_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Flagged, limits)
        trust = await house.run(
            members.flag, principal, project_id, person_id, reason=body.reason, answer_id=body.answer_id
        )
        return Json({"trust": trust}, 201)

    @routes.post("/projects/{project_id}/people/{person_id}/purge", **takes(Empty))
    async def purge(request: Request, project_id: str, person_id: str) -> dict[str, Any]:
        return await house.run(members.purge, await house.who(request), project_id, person_id)

    @routes.get("/projects/{project_id}/tests")
    async def tests(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(progress.tests_to_grade, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.post("/answers/{answer_id}/grade", **takes(Graded))
    async def grade(request: Request, answer_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Graded, limits)
        return Json({"state": await house.run(members.grade, principal, answer_id, mark=body.mark)}, 201)
