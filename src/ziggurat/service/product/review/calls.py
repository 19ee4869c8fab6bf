"""Requests of the API in a reviewed workspace: nothing streams, and nothing is answered before a decision.

`ReviewedCalls` stands before the endpoints. It asks for the whole answer, keeps it on the server as a draft, and
answers 202 with an id; `GET /v1/reviews/{id}` has the response once it is delivered. With `Prefer: wait=30` (RFC 7240),
or the workspace's `review_wait_s`, the request is held so long, and answered as usual where the decision comes in time.
What the guard says in place of an answer is a text of its rules, not a draft, and is sent at once.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.product import people, workspaces
from ziggurat.product.calls import with_calls
from ziggurat.product.workspaces import settings_of
from ziggurat.service.access.caller import caller
from ziggurat.service.http.body import read_raw
from ziggurat.service.http.problems import ApiError, response_for
from ziggurat.service.http.wire import DONE, Json, event
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.house import House
from ziggurat.service.product.review.drafts import language_of, signals
from ziggurat.service.upstream.guarding import CHAT, RESPONSES, TEXT, lines_of
from ziggurat.store.store import Store
from ziggurat.workbench.review import customer
from ziggurat.workbench.review.intake import Draft, take_in
from ziggurat.workbench.review.objects import ForCaller

PATHS = tuple(f"/v1{path}" for path in (CHAT, TEXT, RESPONSES))
WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})", re.IGNORECASE)
MAX_WAIT_S = 600
LOOK_S = 0.5
RETRY_S = 10
WAITS = ("waiting", "checking")
DRAFT = "ziggurat.draft"
"""In the scope of a request whose answer nobody has decided on: its texts are kept in its review alone."""


class ReviewedCalls:
    """ASGI middleware, inside the check of keys."""

    def __init__(self, app: ASGIApp, *, house: House) -> None:
        self.app, self.house = app, house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wanted = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/") in PATHS
        if not wanted:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            settings = await self.house.run(review_settings)
            if settings["review"] == "off":
                await self.app(scope, receive, send)
                return
            answer = await self._answer(request, settings)
        except Exception as error:
            answer = response_for(error)
        await answer(scope, receive, send)

    async def _answer(self, request: Request, settings: Mapping[str, Any]) -> Response:
        raw = await read_raw(request, self.house.services.limits)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or only_scores(request.url.path, body):
            return (await self._inner(request, raw)).response()
        refuse_several(body)
        sure = request.url.path.endswith(CHAT) and not self._is_far(body)
        got = await self._inner(request, json.dumps(asked_whole(body, sure=sure)).encode())
        if got.status != 200:
            return got.response()
        response = json.loads(got.body)
        if guarded(response):
            return shaped(response, body)
        found = {} if not sure else mean_logprob(response, keep=bool(body.get("logprobs")))
        made = await self._open(request, body, response, found)
        wait_s = min(MAX_WAIT_S, waits(request.headers, settings["review_wait_s"]))
        decided = await self._decided(request, made, wait_s)
        if decided.status in WAITS:
            told = {**decided.model_dump(), "poll": f"/v1/reviews/{decided.id}"}
            return Json(told, 202, {"location": f"/v1/reviews/{decided.id}", "retry-after": str(RETRY_S)})
        if decided.response is None:
            raise ApiError(403, "An expert decided that this is not answered.", code="withheld")
        return shaped(decided.response, body)

    def _is_far(self, body: Mapping[str, Any]) -> bool:
        model = body.get("model")
        return isinstance(model, str) and self.house.services.upstreams.named(model) is not None

    async def _inner(self, request: Request, raw: bytes) -> Caught:
        """The endpoint's own answer, which goes nowhere else."""
        caught, sent = Caught(), False
        headers = with_length(request.scope["headers"], len(raw))
        scope = {**request.scope, "headers": headers, DRAFT: True}

        async def receive() -> Message:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": raw, "more_body": False}
            return await request.receive()

        await self.app(scope, receive, caught.send)
        return caught

    async def _open(
        self, request: Request, body: Mapping[str, Any], response: dict[str, Any], found: dict[str, Any]
    ) -> str:
        path = request.url.path.rstrip("/").removeprefix("/v1")
        prompt = [
            {"role": line.role, "content": line.content}
            for line in lines_of(path, dict(body))
            if line.content
        ]
        if path == RESPONSES and isinstance(body.get("instructions"), str):
            prompt.insert(0, {"role": "system", "content": body["instructions"]})
        text, model = draft_of(path, response), str(body.get("model") or response.get("model") or "")
        asked = [Line(one["role"], one["content"]) for one in prompt]
        found |= await signals(self.house, model, asked, text)  # type: ignore[arg-type]
        person_id, caller_id = await who_calls(self.house, request)
        quota = caller(request).quota
        draft = Draft(
            text=text,
            prompt=prompt,
            model=model,
            lang=language_of(prompt[-1]["content"] if prompt else text),
            signals=found,
            made={
                "sampling": {k: body[k] for k in ("temperature", "top_p", "max_tokens", "seed") if k in body}
            },
        )
        origin = {
            "path": request.url.path,
            "model": model,
            "key": None if quota is None else quota.key.name,
            "key_id": None if quota is None else quota.key_id,
            "caller": caller_id,
            "request_id": visit_of(request.scope).request_id,
            "response": response,
        }
        may_learn = path == CHAT and body.get("store") is True
        return await self.house.run(open_call, draft, person_id, origin, data_use=may_learn)

    async def _decided(self, request: Request, review_id: str, wait_s: float) -> ForCaller:
        person_id, caller_id = await who_calls(self.house, request)
        until = time.monotonic() + wait_s
        while True:
            found = await self.house.run(
                customer.for_caller, review_id, person_id=person_id, key_id=caller_id, lang=lang_of(request)
            )
            left = until - time.monotonic()
            if found.status not in WAITS or left <= 0:
                return found
            await asyncio.sleep(min(LOOK_S, left))


class Caught:
    """An answer that was caught on its way."""

    def __init__(self) -> None:
        self.status, self.body = 500, b""
        self.headers: list[tuple[bytes, bytes]] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers") or [])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def response(self) -> Response:
        made = Response(self.body, self.status)
        made.raw_headers = self.headers
        return made


class Line:
    """A message as a judge reads it."""

    def __init__(self, role: str, content: str) -> None:
        self.role, self.content = role, content


def review_settings(store: Store) -> dict[str, Any]:
    with store.read() as conn:
        workspace_id = workspaces.main_of(conn)
        return settings_of(conn, workspace_id or "")


def open_call(
    store: Store, draft: Draft, person_id: str | None, origin: Mapping[str, Any], *, data_use: bool
) -> str:
    """The item of a request; the row that comes back may be delivered already, by a policy."""

    def made(conn: Connection) -> Any:
        return take_in(
            conn,
            store,
            draft,
            workspace_id=people.the_workspace(conn, store),
            person_id=person_id,
            channel="api",
            origin=origin,
            client_id=str(origin["response"].get("id") or "")[:64] or None,
            data_use=data_use,
        )

    with store.write() as conn:
        return str(made(conn).id)


async def who_calls(house: House, request: Request) -> tuple[str | None, str | None]:
    """(the person whose key or machine asks, else None; what tells a key of a file from another)."""
    asking = caller(request)
    if asking.quota is not None and asking.quota.person_id is not None:
        return asking.quota.person_id, None
    if asking.quota is None and asking.id == "" and house.mode == "local":
        return (await house.run(people.local_principal)).person_id, None
    return None, asking.id


def lang_of(request: Request) -> str:
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def waits(headers: Headers, otherwise: float) -> float:
    """Seconds that a request waits: what it prefers, else what the workspace says."""
    found = WAIT.search(headers.get("prefer", ""))
    return float(found.group(1)) if found else float(otherwise)


def only_scores(path: str, body: Mapping[str, Any]) -> bool:
    """A request that writes nothing: the scores of its own prompt."""
    return path.rstrip("/").endswith(TEXT) and not path.endswith(CHAT) and body.get("max_tokens") == 0


def refuse_several(body: Mapping[str, Any]) -> None:
    """
    Raises:
        ApiError: it asks for more than one answer, and an expert decides on one at a time.
    """
    prompts = body.get("prompt")
    several = isinstance(prompts, list) and len(prompts) > 1 and not isinstance(prompts[0], int)
    if several or (body.get("n") or 1) != 1 or (body.get("best_of") or 1) != 1:
        raise ApiError(
            400,
            "An expert checks the answers of this workspace one by one: ask for one answer to one prompt (n: 1).",
            param="prompt" if several else "n",
            code="one_at_a_time",
        )
    if body.get("background") is True:
        raise ApiError(
            400, "background is not needed here: the answer is polled by its review.", param="background"
        )


def asked_whole(body: Mapping[str, Any], *, sure: bool) -> dict[str, Any]:
    """The same request, for a whole answer that is stored nowhere but in its review."""
    made = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    if "store" in made or "input" in made:
        made["store"] = False
    if sure:
        made["logprobs"] = True
    return made


def mean_logprob(response: dict[str, Any], *, keep: bool) -> dict[str, Any]:
    """How sure the model was; the log-probabilities go unless the request asked for them."""
    choice = (response.get("choices") or [{}])[0]
    entries = (choice.get("logprobs") or {}).get("content") or []
    values = [entry["logprob"] for entry in entries if isinstance(entry.get("logprob"), int | float)]
    if not keep:
        choice["logprobs"] = None
    return {"mean_logprob": round(sum(values) / len(values), 4)} if values else {}


def guarded(response: Mapping[str, Any]) -> bool:
    """Whether the guard's text stands in place of the answer."""
    choice = (response.get("choices") or [{}])[0]
    return bool(response.get("guard") or choice.get("guard"))


def draft_of(path: str, response: Mapping[str, Any]) -> str:
    """What the model wrote, its tool calls as text."""
    if path == RESPONSES:
        parts = [
            part.get("text", "")
            for item in response.get("output") or ()
            if item.get("type") == "message"
            for part in item.get("content") or ()
        ]
        calls = [
            {"type": "function", "function": {"name": item.get("name"), "arguments": item.get("arguments")}}
            for item in response.get("output") or ()
            if item.get("type") == "function_call"
        ]
        return with_calls("".join(parts), calls)
    choice = (response.get("choices") or [{}])[0]
    if path == TEXT:
        return str(choice.get("text") or "")
    message = choice.get("message") or {}
    return with_calls(message.get("content") or "", message.get("tool_calls") or [])


def shaped(response: dict[str, Any], body: Mapping[str, Any]) -> Response:
    """A decided response; for who asked for a stream, as the stream that it would have been, in one piece."""
    if body.get("stream") is not True or "output" in response:
        return Json(response)
    choice = dict(response["choices"][0])
    if "message" in choice:
        choice["delta"] = choice.pop("message")
        response = {**response, "object": "chat.completion.chunk"}
    piece = event({**response, "choices": [choice]})
    return Response(piece + DONE, media_type="text/event-stream")


def with_length(headers: list[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    return [*kept, (b"content-length", str(length).encode())]


def call_routes(house: House) -> APIRouter:
    """What a program asks about its own requests."""
    routes = APIRouter(prefix="/v1/reviews", tags=["reviews"])

    @routes.get("/{review_id}")
    async def status(request: Request, review_id: str) -> dict[str, Any]:
        person_id, key_id = await who_calls(house, request)
        found = await house.run(
            customer.for_caller, review_id, person_id=person_id, key_id=key_id, lang=lang_of(request)
        )
        return found.model_dump()

    @routes.post("/{review_id}/cancel")
    async def cancel(request: Request, review_id: str) -> dict[str, Any]:
        person_id, key_id = await who_calls(house, request)
        await house.run(customer.cancel_call, review_id, person_id=person_id, key_id=key_id)
        found = await house.run(customer.for_caller, review_id, person_id=person_id, key_id=key_id)
        return found.model_dump()

    return routes
