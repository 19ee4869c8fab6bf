"""`/v1/files`, as OpenAI has it: upload, list, retrieve, content, delete. Training files are checked when they come."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from ziggurat.errors import ZigguratError
from ziggurat.product import training_files, uploads
from ziggurat.product.principal import Principal
from ziggurat.product.training_files import Count
from ziggurat.product.uploads import Upload
from ziggurat.records import Message
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.product.house import House
from ziggurat.service.product.programs.callers import principal_of
from ziggurat.service.product.programs.multipart import read_form

Order = Literal["asc", "desc"]
UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "purpose"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "purpose": {"type": "string", "enum": list(uploads.PURPOSES)},
                    "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                    "expires_after[seconds]": {
                        "type": "integer",
                        "minimum": uploads.MIN_EXPIRY_S,
                        "maximum": uploads.MAX_EXPIRY_S,
                    },
                },
            }
        }
    },
}
ANSWER = {
    "200": {"description": "The answer.", "content": {"application/json": {"schema": {"type": "object"}}}}
}


def file_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/v1/files", tags=["files"])

    @routes.post("", response_model=None, openapi_extra={"requestBody": UPLOAD, "responses": ANSWER})
    async def upload(request: Request) -> Response:
        principal = await principal_of(house, request)
        file, name, fields = await read_form(request)
        with file:
            made = await house.run(
                uploads.add,
                principal,
                file,
                filename=name,
                purpose=fields.get("purpose", ""),
                expires_after_s=_expiry(fields),
            )
        if made.purpose == "fine-tune":
            made = await _checked(house, principal, made)
        return Json(made.model_dump())

    @routes.get("")
    async def listed(
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Order = "desc",
    ) -> dict[str, Any]:
        principal = await principal_of(house, request)
        found, more = await house.run(
            uploads.listed, principal, purpose=purpose, after=after, limit=limit, newest_first=order == "desc"
        )
        return as_list(found, more)

    @routes.get("/{file_id}")
    async def one(request: Request, file_id: str) -> dict[str, Any]:
        return (await house.run(uploads.get, await principal_of(house, request), file_id)).model_dump()

    @routes.get("/{file_id}/content", response_model=None)
    async def content(request: Request, file_id: str) -> Response:
        principal = await principal_of(house, request)
        shown = await house.run(uploads.get, principal, file_id)
        parts = await house.run(uploads.content, principal, file_id)
        named = f"attachment; filename*=UTF-8''{quote(shown.filename)}"
        headers = {"content-disposition": named, "content-length": str(shown.bytes)}
        return StreamingResponse(parts, media_type="application/octet-stream", headers=headers)

    @routes.delete("/{file_id}")
    async def remove(request: Request, file_id: str) -> dict[str, Any]:
        await house.run(uploads.remove, await principal_of(house, request), file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    return routes


def as_list(found: list[Any], more: bool) -> dict[str, Any]:
    """OpenAI's list."""
    data = [one.model_dump() for one in found]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, "has_more": more, **ends}


def _expiry(fields: dict[str, str]) -> int | None:
    """`expires_after[seconds]` of the form."""
    given = fields.get("expires_after[seconds]")
    if given is None:
        return None
    anchor = fields.get("expires_after[anchor]", "created_at")
    if anchor != "created_at" or not given.isdecimal():
        message = "expires_after must have the anchor created_at and a whole number of seconds."
        raise ApiError(400, message, param="expires_after")
    return int(given[:12])


async def _checked(house: House, principal: Principal, made: Upload) -> Upload:
    """The file with the report of its check, made on a worker thread."""
    parts = await house.run(uploads.content, principal, made.id)
    served = next(iter(house.services.shelf), None)
    name, count = (None, None) if served is None else (served.card.name, counting(served.worker.chat))
    check = partial(training_files.check, parts, count=count, tokenizer=name)
    report = await anyio.to_thread.run_sync(check)
    return await house.run(uploads.checked, principal, made.id, report)


def counting(chat: Any) -> Count:
    """Tokens of a conversation as this model's template renders it: the prompt, the answer, and its end."""

    def count(said: list[Message]) -> int:
        answer = len(chat.raw_ids(said[-1].content, add_start=False)) + 1
        try:
            return len(chat.prompt_ids(said[:-1])) + answer
        except ZigguratError:  # the template refuses such a prompt: the texts alone
            return answer + sum(len(chat.raw_ids(one.content, add_start=False)) for one in said[:-1])

    return count
