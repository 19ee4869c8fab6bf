"""Responses that are kept: read, cancel, delete, and their input items. Another key's are not there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request

from ziggurat.service.access.gate import salt_of
from ziggurat.service.http.problems import ApiError
from ziggurat.service.openai.responses.store import ResponseStore


def kept_response_routes(store: ResponseStore) -> APIRouter:
    routes = APIRouter(prefix="/v1/responses")

    @routes.get("/{response_id}")
    async def read(request: Request, response_id: str, stream: bool = False) -> dict[str, Any]:
        kept = store.get(salt_of(request), response_id)
        if stream:
            message = (
                "a response is streamed only when it is created; leave out stream to read it as it stands."
            )
            raise ApiError(400, message, param="stream")
        return kept.reply.as_json()

    @routes.post("/{response_id}/cancel")
    async def cancel(request: Request, response_id: str) -> dict[str, Any]:
        """Stop writing; what has come stays. One that has ended is returned as it is, however often it is asked."""
        kept = store.get(salt_of(request), response_id)
        store.cancel(kept.reply)
        return kept.reply.as_json()

    @routes.delete("/{response_id}")
    async def delete(request: Request, response_id: str) -> dict[str, Any]:
        kept = store.get(salt_of(request), response_id)
        store.cancel(kept.reply)
        store.forget(response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @routes.get("/{response_id}/input_items")
    async def input_items(
        request: Request,
        response_id: str,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        order: Literal["asc", "desc"] = "desc",
        after: str | None = None,
    ) -> dict[str, Any]:
        """The items of this response's own request; those before it are at `previous_response_id`."""
        items = list(store.get(salt_of(request), response_id).input)
        if order == "desc":
            items.reverse()
        if after is not None:
            places = [i for i, item in enumerate(items) if item["id"] == after]
            if not places:
                raise ApiError(400, f'"{after[:100]}" is no item of {response_id}.', param="after")
            items = items[places[0] + 1 :]
        page = items[:limit]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return {"object": "list", "data": page, **ends, "has_more": len(items) > limit}

    return routes
