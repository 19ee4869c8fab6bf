"""Folders, personas, shares, files, runs."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from tests.web.fake.basics import Refused, missing, stamp


def other_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/folders")
    async def folders() -> dict[str, Any]:
        return {"data": list(house.folders.values()), "next": None}

    @app.post("/api/folders")
    async def new_folder(request: Request) -> dict[str, Any]:
        body = await request.json()
        folder = {
            "id": house.ids.new("folder"),
            "parent_id": body.get("parent_id"),
            "name": body["name"],
            "position": len(house.folders),
        }
        house.folders[folder["id"]] = folder
        return folder

    @app.patch("/api/folders/{fid}")
    async def change_folder(fid: str, request: Request) -> dict[str, Any]:
        house.folders[fid] |= await request.json()
        return house.folders[fid]

    @app.delete("/api/folders/{fid}")
    async def drop_folder(fid: str) -> Response:
        del house.folders[fid]
        for chat in house.chats.values():
            if chat["folder_id"] == fid:
                chat["folder_id"] = None
        return Response(status_code=204)

    @app.get("/api/personas")
    async def personas() -> dict[str, Any]:
        return {"data": list(house.personas.values()), "next": None}

    @app.post("/api/personas")
    async def new_persona(request: Request) -> dict[str, Any]:
        persona = await request.json() | {"id": house.ids.new("persona"), "version": 1, "created_at": stamp()}
        house.personas[persona["id"]] = persona
        return persona

    @app.patch("/api/personas/{pid}")
    async def change_persona(pid: str, request: Request) -> dict[str, Any]:
        old = house.personas[pid]
        old |= await request.json() | {"version": old["version"] + 1}
        return old

    @app.delete("/api/personas/{pid}")
    async def drop_persona(pid: str) -> Response:
        del house.personas[pid]
        return Response(status_code=204)

    @app.post("/api/chats/{chat_id}/shares")
    async def share(chat_id: str, request: Request) -> dict[str, Any]:
        chat, token = house.chat(chat_id), house.ids.new("t")
        made = {
            "id": house.ids.new("share"), "chat_id": chat_id, "title": chat["title"], "url": f"/shared/{token}",
            "created_at": stamp(), "expires_at": (await request.json()).get("expires_at"), "revoked_at": None,
            "views": 0,
        }  # fmt: skip
        messages = [house.shown(m) for m in house.path(chat["active_leaf_id"])]
        house.shares[token] = made | {"messages": messages}
        return made

    @app.get("/api/shares")
    async def shares() -> dict[str, Any]:
        return {
            "data": [
                {k: v for k, v in s.items() if k != "messages"} | {"url": None} for s in house.shares.values()
            ],
            "next": None,
        }

    @app.delete("/api/shares/{sid}")
    async def revoke(sid: str) -> Response:
        for one in house.shares.values():
            if one["id"] == sid:
                one["revoked_at"] = stamp()
        return Response(status_code=204)

    @app.get("/api/shared/{token}")
    async def shared(token: str) -> dict[str, Any]:
        found = house.shares.get(token)
        if found is None or found["revoked_at"]:
            raise missing()
        found["views"] += 1
        return {"title": found["title"], "messages": found["messages"], "created_at": found["created_at"]}

    @app.post("/api/shared/{token}/continue")
    async def continue_shared(token: str) -> dict[str, Any]:
        found = house.shares[token]
        new, parent = house.new_chat(title=found["title"]), None
        for m in found["messages"]:
            parent = house.new_message(new["id"], m["role"], m["content"], parent, model=m["model"])["id"]
        return new

    @app.get("/api/chats/{chat_id}/export")
    async def export(chat_id: str, format: str) -> Response:
        messages = house.path(house.chat(chat_id)["active_leaf_id"])
        if format == "json":
            kept = [
                m | {"parent": m["parent_id"], "ai_generated": m["role"] == "assistant"} for m in messages
            ]
            return JSONResponse(
                {"kind": "ziggurat.chat", "title": house.chat(chat_id)["title"], "messages": kept}
            )
        return Response(
            "\n\n".join(f"{m['role']}: {m['content']}" for m in messages), media_type="text/plain"
        )

    @app.get("/api/export")
    @app.get("/api/me/export")
    async def export_all() -> Response:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            archive.writestr("chats.json", json.dumps(list(house.chats.values())))
        return Response(held.getvalue(), media_type="application/zip")

    @app.post("/api/import")
    async def bring(request: Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.body())
            chat = house.new_chat(title=body["title"])
            parent = None
            for m in body["messages"]:
                parent = house.new_message(chat["id"], m["role"], m["content"], parent, model=m.get("model"))[
                    "id"
                ]
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, "bad_import", "The file holds no chats that are known here.") from error
        return {"chats": 1, "messages": len(body["messages"]), "skipped": []}


def run_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/runs")
    async def runs() -> dict[str, Any]:
        return {"climbs": house.climbs}

    @app.get("/api/runs/events")
    async def changes() -> StreamingResponse:
        async def sent() -> AsyncIterator[str]:
            while True:
                await asyncio.sleep(1.0)
                yield 'data: {"type": "changed", "run": "town/sft"}\n\n'

        return StreamingResponse(sent(), media_type="text/event-stream")

    @app.post("/api/runs/{ladder}/resume")
    async def resume(ladder: str) -> JSONResponse:
        for climb in house.climbs:
            if climb["name"] == ladder:
                climb["state"] = "running"
        return JSONResponse({"resumed": ladder}, 202)

    @app.get("/api/runs/{ladder}/{run}")
    async def one(ladder: str, run: str) -> dict[str, Any]:
        found = house.runs.get(f"{ladder}/{run}")
        if found is None:
            raise missing()
        return found
