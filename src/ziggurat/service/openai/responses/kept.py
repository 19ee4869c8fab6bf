"""Stored responses: read, cancel, delete, and list their input. A response of another key does not exist (404)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.service.access.caller import caller
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json, large_json
from ziggurat.service.services import Services


def kept_response_routes(services: Services) -> APIRouter:
    routes = APIRouter(prefix="/v1/responses")
    store = services.responses

    @routes.get("/{response_id}")
    async def read(request: Request, response_id: str, stream: bool = False) -> Response:
        kept = store.get(caller(request).salt, response_id)
        if stream:
            message = (
                "stream is true; a response is streamed only when it is created. Leave stream out to read it."
            )
            raise ApiError(400, message, param="stream")
        return await large_json(kept.reply.as_json)

    @routes.post("/{response_id}/cancel")
    async def cancel(request: Request, response_id: str) -> Response:
        """Stop writing; the text so far stays. A response that has ended is returned unchanged."""
        kept = store.get(caller(request).salt, response_id)
        kept.reply.cancel()
        return await large_json(kept.reply.as_json)

    @routes.delete("/{response_id}")
    async def delete(request: Request, response_id: str) -> dict[str, Any]:
        store.get(caller(request).salt, response_id).reply.cancel()
        store.forget(response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @routes.get("/{response_id}/input_items")
    async def input_items(
        request: Request,
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> Response:
        """The items of this response's own request; earlier ones belong to `previous_response_id`."""
        items = list(store.get(caller(request).salt, response_id).input)
        if order == "desc":
            items.reverse()
        if after is not None:
            places = [i for i, item in enumerate(items) if item["id"] == after]
            if not places:
                raise ApiError(400, f'after is "{after[:100]}", not an item of {response_id}.', param="after")
            items = items[places[0] + 1 :]
        page = items[:limit]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return Json({"object": "list", "data": page, **ends, "has_more": len(items) > limit})

    return routes
