"""`/api/label`: what a labeller uses. The next item, its draft and answer, guidelines, comments, own settings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Empty
from ziggurat.service.product.house import House
from ziggurat.service.product.labelling.bodies import (
    ChangedHabits,
    FirstChoice,
    Held,
    Holding,
    NewAnswer,
    NewComment,
    Resolved,
    SavedDraft,
    Seen,
    Skipped,
)
from ziggurat.workbench.labelling import (
    answering,
    comments,
    guidelines,
    habits,
    members,
    progress,
    projects,
    queue,
)


def labelling_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/label", tags=["labelling"]), house.services.limits

    @routes.get("/mine")
    async def mine(request: Request) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(projects.mine, principal)
        own = await house.run(habits.get_habits, principal)
        mentions = await house.run(comments.my_mentions, principal)
        return {
            "projects": found,
            "habits": own.model_dump(),
            "mentions": [one.model_dump() for one in mentions],
        }

    @routes.patch("/habits", **takes(ChangedHabits))
    async def change_habits(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedHabits, limits)
        return (await house.run(habits.change_habits, principal, body.fields())).model_dump()

    @routes.post("/projects/{project_id}/next", **takes(Holding))
    async def following(request: Request, project_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Holding, limits)
        found = await house.run(queue.next_item, principal, project_id, holding=body.holding)
        task = found["task"]
        return {**found, "task": None if task is None else task.model_dump()}

    @routes.post("/projects/{project_id}/leave", **takes(Empty))
    async def leave(request: Request, project_id: str) -> Response:
        await house.run(members.leave, await house.who(request), project_id)
        return Json({"left": True})

    @routes.get("/projects/{project_id}/answers/mine")
    async def my_answers(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(progress.my_answers, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.get("/projects/{project_id}/guidelines")
    async def guide(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(guidelines.guidelines, await house.who(request), project_id)
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/projects/{project_id}/guidelines/{n}/acknowledge", **takes(Empty))
    async def acknowledge(request: Request, project_id: str, n: int) -> dict[str, Any]:
        return (await house.run(guidelines.acknowledge, await house.who(request), project_id, n)).model_dump()

    _item_routes(house, routes)
    _comment_routes(house, routes)
    return routes


def _item_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.post("/heartbeat", **takes(Held))
    async def heartbeat(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Held, limits)
        return {"expires_at": await house.run(answering.heartbeat, principal, body.items)}

    @routes.post("/release", **takes(Held))
    async def release(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Held, limits)
        return {"released": await house.run(answering.give_back, principal, body.items)}

    @routes.get("/items/{item_id}/task")
    async def opened(request: Request, item_id: str) -> dict[str, Any]:
        found = await house.run(answering.opened, await house.who(request), item_id)
        return {"task": found["task"].model_dump()}

    @routes.put("/items/{item_id}/draft", **takes(SavedDraft))
    async def draft(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, SavedDraft, limits)
        saved = await house.run(
            answering.save_draft, principal, item_id, body.value, prefilled=body.prefilled
        )
        return {"saved_at": saved}

    @routes.post("/items/{item_id}/answer", **takes(NewAnswer))
    async def answer(request: Request, item_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewAnswer, limits)
        made = await house.run(
            answering.submit, principal, item_id, body.value, seconds=body.seconds, version=body.version
        )
        return Json(made.model_dump(), 201)

    @routes.delete("/items/{item_id}/answer")
    async def discard(request: Request, item_id: str) -> Response:
        await house.run(answering.discard, await house.who(request), item_id)
        return Json({"discarded": True})

    @routes.post("/items/{item_id}/skip", **takes(Skipped))
    async def skip(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Skipped, limits)
        return await house.run(answering.skip, principal, item_id, reason=body.reason, comment=body.comment)

    @routes.post("/items/{item_id}/suggestion", **takes(FirstChoice))
    async def suggestion(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, FirstChoice, limits)
        return await house.run(answering.suggestion, principal, item_id, first_choice=body.first_choice)


def _comment_routes(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/projects/{project_id}/comments")
    async def listed(
        request: Request,
        project_id: str,
        item_id: Annotated[str | None, Query()] = None,
        open_only: Annotated[bool, Query()] = False,
    ) -> dict[str, Any]:
        found = await house.run(
            comments.list_comments, await house.who(request), project_id, item_id=item_id, open_only=open_only
        )
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/projects/{project_id}/comments", **takes(NewComment))
    async def write(request: Request, project_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewComment, limits)
        made = await house.run(comments.comment, principal, project_id, **body.model_dump())
        return Json(made.model_dump(), 201)

    @routes.get("/projects/{project_id}/names")
    async def names(request: Request, project_id: str) -> dict[str, Any]:
        found = await house.run(comments.mentionable, await house.who(request), project_id)
        return {"data": found, "next": None}

    @routes.patch("/comments/{comment_id}", **takes(Resolved))
    async def resolve(request: Request, comment_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Resolved, limits)
        return (await house.run(comments.resolve, principal, comment_id, resolved=body.resolved)).model_dump()

    @routes.post("/mentions/seen", **takes(Seen))
    async def seen(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, Seen, limits)
        await house.run(comments.see_mentions, principal, body.comments)
        return Json({"seen": True})
