"""`/api/me`, the doors, keys; chats and search."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from tests.web.fake.administration import PERSON
from tests.web.fake.basics import Refused, page_of, stamp
from tests.web.fake.house import EXAMPLES, MODELS


def me_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/me")
    async def me() -> dict[str, Any]:
        return {
            "person": PERSON | {"role": house.role} if house.logged_in else None, "mode": house.mode,
            "workspace": {"id": "w_1", "name": "Home"},
            "needs_setup": house.needs_setup, "registration": house.registration,
            "csrf": "token-1" if house.logged_in and house.mode == "accounts" else None,
            "preferences": house.preferences, "consents": house.consents, "version": "0.0.fake",
        }  # fmt: skip

    @app.patch("/api/me")
    async def change(request: Request) -> dict[str, Any]:
        house.preferences |= (await request.json()).get("preferences", {})
        return await me()

    @app.delete("/api/me")
    async def leave() -> Response:
        house.chats.clear()
        house.messages.clear()
        house.logged_in = house.mode == "local"
        return Response(status_code=204)

    @app.put("/api/me/consents/{purpose}")
    async def consent(purpose: str, request: Request) -> dict[str, Any]:
        house.consents[purpose] = bool((await request.json())["given"])
        return {"purpose": purpose, "given": house.consents[purpose]}

    @app.post("/api/login")
    async def login(request: Request) -> dict[str, Any]:
        if (await request.json()).get("password") != "correct horse battery":
            raise Refused(401, "wrong_login", "The email or the password is wrong.")
        house.logged_in = True
        return await me()

    @app.post("/api/register")
    async def register() -> dict[str, Any]:
        house.logged_in = True
        return await me()

    @app.post("/api/setup")
    async def setup(request: Request) -> dict[str, Any]:
        if (await request.json())["token"] != "once":
            raise Refused(403, "wrong_token", "The token is wrong.")
        house.needs_setup, house.logged_in = False, True
        return await me()

    @app.post("/api/logout")
    async def logout() -> Response:
        house.logged_in = False
        return Response(status_code=204)

    @app.post("/api/me/password")
    async def password() -> Response:
        return Response(status_code=204)

    @app.get("/api/me/sessions")
    async def sessions() -> dict[str, Any]:
        one = {
            "id": "session_1",
            "created_at": stamp(),
            "last_seen_at": stamp(),
            "user_agent": "Chromium",
            "current": True,
        }
        return {"data": [one], "next": None}

    @app.get("/api/me/keys")
    async def keys() -> dict[str, Any]:
        return {"data": list(house.keys.values()), "next": None}

    @app.post("/api/me/keys")
    async def new_key(request: Request) -> dict[str, Any]:
        body = await request.json()
        key = {"id": house.ids.new("key"), "name": body["name"], "scopes": body["scopes"], "prefix": "zk-abcd",
               "created_at": stamp(), "expires_at": body.get("expires_at")}  # fmt: skip
        house.keys[key["id"]] = key
        return key | {"secret": "zk-abcdefghijklmnopqrstuvwxyz"}

    @app.delete("/api/me/keys/{key_id}")
    async def drop_key(key_id: str) -> Response:
        house.keys.pop(key_id, None)
        return Response(status_code=204)


def chat_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/models")
    async def models() -> dict[str, Any]:
        return {
            "models": MODELS, "examples": EXAMPLES, "defaults": {"temperature": 0.7, "max_tokens": 256},
            "limits": {"max_tokens": 512, "max_messages": 100, "max_message_chars": 20_000},
        }  # fmt: skip

    @app.get("/api/chats")
    async def chats(
        folder: str | None = None,
        archived: bool = False,
        trash: bool = False,
        cursor: str | None = None,
        limit: int = 50,
    ) -> dict[str, Any]:
        found = [
            chat for chat in house.chats.values()
            if bool(chat["deleted_at"]) == trash and (trash or chat["archived"] == archived)
            and (folder is None or chat["folder_id"] == folder)
        ]  # fmt: skip
        found.sort(key=lambda chat: chat["updated_at"], reverse=True)
        found.sort(key=lambda chat: not chat["pinned"])
        return page_of(found, cursor, limit)

    @app.post("/api/chats")
    async def new_chat(request: Request) -> dict[str, Any]:
        return house.new_chat(**await request.json())

    @app.get("/api/chats/{chat_id}")
    async def open_chat(chat_id: str) -> dict[str, Any]:
        chat = house.chat(chat_id)
        path = house.path(chat["active_leaf_id"])
        running = [g for g in house.generations.values() if g.chat == chat_id and not g.over]
        running.sort(key=lambda g: g.message["id"] == chat["active_leaf_id"])
        return {
            "chat": chat, "messages": [house.shown(m) for m in path[-50:]], "has_earlier": len(path) > 50,
            "generation_id": running[-1].id if running else None,
        }  # fmt: skip

    @app.get("/api/chats/{chat_id}/messages")
    async def earlier(chat_id: str, before: str, limit: int = 50) -> dict[str, Any]:
        path = house.path(house.message(chat_id, before)["id"])[:-1]
        return {"messages": [house.shown(m) for m in path[-limit:]], "has_earlier": len(path) > limit}

    @app.get("/api/chats/{chat_id}/tree")
    async def tree(chat_id: str) -> dict[str, Any]:
        chat = house.chat(chat_id)
        lines = [
            {"id": m["id"], "parent_id": m["parent_id"], "role": m["role"], "preview": m["content"][:80],
             "state": m["state"]}
            for m in house.messages.values() if m["chat_id"] == chat_id
        ]  # fmt: skip
        return {"messages": lines, "active_leaf_id": chat["active_leaf_id"]}

    @app.patch("/api/chats/{chat_id}")
    async def change(chat_id: str, request: Request) -> dict[str, Any]:
        chat, body = house.chat(chat_id), await request.json()
        if body.get("active_leaf_id"):
            body["active_leaf_id"] = house.newest_leaf(house.message(chat_id, body["active_leaf_id"])["id"])
        chat |= {name: value for name, value in body.items() if name in chat}
        return chat

    @app.delete("/api/chats/trash")
    async def empty_trash() -> dict[str, int]:
        gone = {chat_id for chat_id, chat in house.chats.items() if chat["deleted_at"]}
        house.chats = {i: chat for i, chat in house.chats.items() if i not in gone}
        house.messages = {i: m for i, m in house.messages.items() if m["chat_id"] not in gone}
        return {"deleted": len(gone)}

    @app.delete("/api/chats/{chat_id}")
    async def delete(chat_id: str, forever: bool = False) -> Response:
        chat = house.chat(chat_id)
        if forever:
            del house.chats[chat_id]
            house.messages = {i: m for i, m in house.messages.items() if m["chat_id"] != chat_id}
        else:
            chat["deleted_at"] = stamp()
        return Response(status_code=204)

    @app.post("/api/chats/{chat_id}/restore")
    async def restore(chat_id: str) -> dict[str, Any]:
        chat = house.chat(chat_id)
        chat["deleted_at"] = None
        return chat

    @app.post("/api/chats/{chat_id}/fork")
    async def fork(chat_id: str, request: Request) -> dict[str, Any]:
        old = house.chat(chat_id)
        new = house.new_chat(title=old["title"], model=old["model"])
        parent = None
        for m in house.path((await request.json())["message_id"]):
            parent = house.new_message(new["id"], m["role"], m["content"], parent, model=m["model"])["id"]
        return new

    @app.get("/api/search")
    async def search(q: str, limit: int = 20) -> dict[str, Any]:
        hits = []
        for m in house.messages.values():
            at = m["content"].lower().find(q.lower())
            chat = house.chats[m["chat_id"]]
            if at < 0 or chat["deleted_at"]:
                continue
            start = max(0, at - 40)
            hits.append({
                "chat_id": chat["id"], "title": chat["title"], "message_id": m["id"],
                "snippet": m["content"][start : at + 80], "marks": [[at - start, at - start + len(q)]],
                "created_at": m["created_at"],
            })  # fmt: skip
        return {"data": hits[::-1][:limit]}
