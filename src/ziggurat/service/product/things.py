"""What is around conversations: folders, personas, search, shared snapshots, export and import."""

from __future__ import annotations

import asyncio
import tempfile
from typing import Annotated, Any, BinaryIO, Literal

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.product import export, folders, imports, personas, search, shares
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import (
    ChangedFolder,
    ChangedPersona,
    Empty,
    NewFolder,
    NewPersona,
    NewShare,
)
from ziggurat.service.product.house import House
from ziggurat.service.product.people import zip_answer

MAX_IMPORT_BYTES = 200 * 2**20
WRITE_BYTES = 2**20
IMPORT_TIMEOUT_S = 120.0
IMPORTED = ("application/json", "application/zip", "application/octet-stream")


def folder_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/folders", tags=["folders"]), house.services.limits

    @routes.get("")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(folders.list_folders, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("", **takes(NewFolder))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewFolder, limits)
        made = await house.run(folders.create_folder, principal, **body.fields())
        return Json(made.model_dump(), 201)

    @routes.patch("/{folder_id}", **takes(ChangedFolder))
    async def change(request: Request, folder_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedFolder, limits)
        return (await house.run(folders.change_folder, principal, folder_id, body.fields())).model_dump()

    @routes.delete("/{folder_id}")
    async def delete(request: Request, folder_id: str) -> Response:
        await house.run(folders.delete_folder, await house.who(request), folder_id)
        return Json({"deleted": True})

    return routes


def persona_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api/personas", tags=["personas"]), house.services.limits

    @routes.get("")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(personas.list_personas, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("", **takes(NewPersona))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewPersona, limits)
        made = await house.run(personas.create_persona, principal, **body.fields())
        return Json(made.model_dump(), 201)

    @routes.patch("/{persona_id}", **takes(ChangedPersona))
    async def change(request: Request, persona_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedPersona, limits)
        return (await house.run(personas.change_persona, principal, persona_id, body.fields())).model_dump()

    @routes.delete("/{persona_id}")
    async def delete(request: Request, persona_id: str) -> Response:
        await house.run(personas.delete_persona, await house.who(request), persona_id)
        return Json({"deleted": True})

    return routes


def share_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api", tags=["shares"]), house.services.limits

    @routes.post("/chats/{chat_id}/shares", **takes(NewShare))
    async def create(request: Request, chat_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewShare, limits)
        made = await house.run(shares.create_share, principal, chat_id, expires_at=body.expires_at)
        return Json(made.model_dump(), 201)

    @routes.get("/shares")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(shares.list_shares, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.delete("/shares/{share_id}")
    async def revoke(request: Request, share_id: str) -> Response:
        await house.run(shares.revoke_share, await house.who(request), share_id)
        return Json({"revoked": True})

    @routes.get("/shared/{token}")
    async def shared(token: str) -> Response:
        found = await house.run(shares.view_share, token)
        return Json(found.model_dump(), headers={"x-robots-tag": "noindex"})

    @routes.post("/shared/{token}/continue", **takes(Empty))
    async def go_on(request: Request, token: str) -> Response:
        made = await house.run(shares.continue_share, await house.who(request), token)
        return Json(made.model_dump(), 201)

    return routes


def archive_routes(house: House) -> APIRouter:
    """Search, export, import."""
    routes = APIRouter(prefix="/api", tags=["archive"])

    @routes.get("/search")
    async def find(
        request: Request,
        q: Annotated[str, Query(max_length=400)],
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> dict[str, Any]:
        hits = await house.run(search.search, await house.who(request), q, limit=limit)
        return {"data": [hit.model_dump() for hit in hits], "next": None}

    @routes.get("/chats/{chat_id}/export")
    async def one(
        request: Request, chat_id: str, format: Literal["json", "markdown", "jsonl", "text"] = "json"
    ) -> Response:
        name, kind, data = await house.run(export.export_chat, await house.who(request), chat_id, format)
        return Response(data, media_type=kind, headers={"content-disposition": attachment(name)})

    @routes.get("/export")
    async def everything(request: Request) -> Response:
        principal = await house.who(request)
        file = tempfile.NamedTemporaryFile(suffix=".zip")
        await house.run(export.export_all, principal, file)  # type: ignore[arg-type]
        return zip_answer(file, "chats.zip")

    @routes.post("/import")
    async def take_in(request: Request) -> Response:
        principal = await house.who(request)
        file = await uploaded(request)
        try:
            found = await house.run(imports.import_file, principal, file)
        finally:
            await anyio.to_thread.run_sync(file.close)
        return Json(found.model_dump())

    return routes


def attachment(name: str) -> str:
    """Content-Disposition for a file name that may have any characters (RFC 6266)."""
    from urllib.parse import quote

    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def uploaded(request: Request) -> BinaryIO:
    """An uploaded file, on the disk and without a name: it is gone when it is closed.

    Raises:
        ApiError: 415 for another type, 413 for too many bytes, 408 when they do not arrive.
    """
    declared = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if declared not in IMPORTED:
        raise ApiError(
            415, f"Content-Type is {declared or 'missing'}; send application/json or application/zip."
        )
    file: BinaryIO = await anyio.to_thread.run_sync(tempfile.TemporaryFile)
    try:
        async with asyncio.timeout(IMPORT_TIMEOUT_S):
            await _received(request, file)
    except BaseException as error:
        await anyio.to_thread.run_sync(file.close)
        if isinstance(error, TimeoutError):
            raise ApiError(408, f"The file did not arrive within {IMPORT_TIMEOUT_S:g} s.") from None
        raise
    return file


async def _received(request: Request, file: BinaryIO) -> None:
    """Write the body to the file, in blocks on a worker thread."""
    block, size = bytearray(), 0
    async for piece in request.stream():
        block += piece
        size += len(piece)
        if size > MAX_IMPORT_BYTES:
            message = f"The file is larger than {MAX_IMPORT_BYTES // 2**20} MiB; import it in parts."
            raise ApiError(413, message, code="request_too_large")
        if len(block) >= WRITE_BYTES:
            await anyio.to_thread.run_sync(file.write, bytes(block))
            block.clear()
    await anyio.to_thread.run_sync(file.write, bytes(block))
