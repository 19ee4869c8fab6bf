"""Models of other OpenAI-compatible servers.

    ziggurat serve my/ppo --upstream cluster=http://10.0.0.5:8000/v1

Its models are listed in `/v1/models` as `cluster/<their id>`. A request for one is forwarded unchanged, except for the
model's own id and the upstream's key (`ZIGGURAT_UPSTREAM_CLUSTER_KEY`); the client's key is not forwarded. The answer
is passed on as it arrives. When the client disconnects, the upstream request is closed too. An upstream that cannot be
reached is a 503; one that fails during a stream ends it with an error event; a refusal is passed on with its retry
headers. Tokens count like those of local models (`meter.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import httpx
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ziggurat.errors import BusyError, UsageError
from ziggurat.safety.guard import Decision, Guard
from ziggurat.service.access.admission import must_be_allowed
from ziggurat.service.access.caller import caller
from ziggurat.service.access.holding import Hold, Holding
from ziggurat.service.http.client import while_connected
from ziggurat.service.http.problems import ApiError, error_body, response_for
from ziggurat.service.http.wire import DONE, Json, event
from ziggurat.service.observe.metrics import Metrics
from ziggurat.service.observe.visits import Visit, visit_of
from ziggurat.service.upstream.guarding import FarGuard
from ziggurat.service.upstream.meter import Meter

LISTED_S = 30.0
"""Seconds until a list of models is read again."""
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
LIST_TIMEOUT_S = 3.0

QUOTED = [
    *("retry-after", "retry-after-ms", "x-should-retry"),
    *(
        f"x-ratelimit-{figure}-{what}"
        for figure in ("limit", "remaining", "reset")
        for what in ("requests", "tokens")
    ),
]
"""Headers of a refusal that are passed on. If this server has keys, `KeyCheck` replaces the limits by its own."""


class Upstream:
    """One other server."""

    def __init__(self, name: str, url: str, key: str | None = None) -> None:
        self.name, self.url = name, url.rstrip("/")
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._client = httpx.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False)
        self._listed: list[dict[str, Any]] = []
        self._listed_at = -LISTED_S
        self._refuses_usage = False  # refuses include_usage; found out by asking
        self._closed = False

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """`cluster=http://10.0.0.5:8000/v1`; its key comes from the environment.

        Raises:
            UsageError: the text has another form.
        """
        name, _, url = text.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or not re.match(r"https?://\S+$", url):
            raise UsageError(
                f"{text!r} is not an upstream; write NAME=URL, for instance cluster=http://10.0.0.5:8000/v1."
            )
        variable = f"ZIGGURAT_UPSTREAM_{name.upper().replace('-', '_')}_KEY"
        return cls(name, url, os.environ.get(variable))

    async def models(self) -> list[dict[str, Any]]:
        """Its models, under our names; the last known list while it cannot be reached."""
        if time.monotonic() - self._listed_at > LISTED_S:
            self._listed_at = time.monotonic()
            try:
                answer = await self._client.get(f"{self.url}/models", timeout=LIST_TIMEOUT_S)
                listed = answer.raise_for_status().json()["data"]
                self._listed = [
                    {**model, "id": f"{self.name}/{model['id']}", "object": "model", "owned_by": self.name}
                    for model in listed
                ]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                self._listed_at -= 0.9 * LISTED_S  # ask again soon
        return self._listed

    def label(self, model: str) -> str:
        """Its name in the metrics: a listed model's name, else the server's."""
        return model if any(model == known["id"] for known in self._listed) else self.name

    async def forward(self, path: str, body: dict[str, Any], meter: Meter) -> Response:
        """POST `body` to `path` with the model's own id; the answer as it arrives, counted by `meter`."""
        sent = {**body, "model": str(body["model"]).removeprefix(f"{self.name}/")}
        metered = meter.asking_for_usage(sent)
        try:
            if metered is None or self._refuses_usage:
                answer = await self._send(path, sent)
            else:
                answer = await self._send(path, metered)
                if answer.status_code in (400, 422):  # perhaps because of include_usage: once more without it
                    await answer.aclose()
                    answer = await self._send(path, sent)
                    self._refuses_usage = answer.is_success
            kind = answer.headers.get("content-type", "application/json")
            if not kind.startswith("text/event-stream"):
                whole = await self._whole(answer, meter)
                meter.close()
                return whole
        except BaseException as error:
            meter.close(left=isinstance(error, asyncio.CancelledError))
            raise
        return _FarStream(self, answer, meter)

    async def chunks(self, path: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """POST a streaming `body` with the model's own id; the JSON object of each event, without `[DONE]`.

        Raises:
            ApiError: it cannot be reached, refuses the request, or breaks off.
        """
        answer = await self._send(path, {**body, "model": str(body["model"]).removeprefix(f"{self.name}/")})
        try:
            if not answer.is_success:
                raise ApiError(503, self.lost(f"refused the request ({answer.status_code})"))
            buffer = b""
            async for piece in answer.aiter_bytes():
                *whole, buffer = (buffer + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                for one in whole:
                    if (chunk := _chunk(one)) is None:
                        continue
                    if "error" in chunk:
                        raise ApiError(503, self.lost("ended the answer with an error"))
                    yield chunk
        except httpx.HTTPError:
            raise ApiError(503, self.lost("broke off")) from None
        finally:
            await answer.aclose()

    async def _send(self, path: str, body: dict[str, Any]) -> httpx.Response:
        try:
            sent = json.dumps(body, allow_nan=False).encode()  # ASCII: half surrogate pairs are escaped
        except ValueError:
            raise ApiError(400, "The body holds NaN or infinity; JSON has neither.") from None
        if self._closed:
            raise ApiError(503, self.lost("is closed"), retry_after_s=5)
        try:
            kind = {"content-type": "application/json"}
            request = self._client.build_request("POST", f"{self.url}{path}", content=sent, headers=kind)
            return await self._client.send(request, stream=True)
        except httpx.HTTPError:
            message = self.lost("cannot be reached; try again in a moment")
            raise ApiError(503, message, retry_after_s=5) from None

    async def _whole(self, answer: httpx.Response, meter: Meter) -> Response:
        try:
            raw = await answer.aread()
            answered = json.loads(raw)  # invalid JSON is not passed on
        except (httpx.HTTPError, ValueError):
            return response_for(ApiError(503, self.lost("gave no answer")))
        finally:
            await answer.aclose()
        status = answer.status_code
        if answer.is_success:
            meter.whole(answered, len(raw))
            return Response(raw, status, media_type="application/json")
        if status in (401, 403):  # about our key: not for this server's clients
            return response_for(ApiError(503, self.lost("does not accept this server's key")))
        if not (isinstance(answered, dict) and isinstance(answered.get("error"), dict)):
            answered = error_body(status, f"The server behind {self.name} refused the request.")
        quoted = {name: answer.headers[name] for name in QUOTED if name in answer.headers}
        return Json(answered, 503 if status >= 500 else status, quoted)

    def lost(self, how: str) -> str:
        """Why there is no answer, or no more of it."""
        if self._closed:
            return "The server is shutting down; this answer is incomplete."
        return f"The server behind {self.name} {how}."

    async def close(self) -> None:
        """Close all connections; unfinished answers end with an error. May be called twice."""
        self._closed = True
        await self._client.aclose()


class _FarStream(StreamingResponse):
    """An event stream of another server. However it ends (finished, broken off, client disconnected), its connection is
    closed and its tokens are settled."""

    def __init__(self, upstream: Upstream, answer: httpx.Response, meter: Meter) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._events(), 200, headers, media_type="text/event-stream")
        self.upstream, self.answer, self.meter = upstream, answer, meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.meter.close()
            await self.answer.aclose()

    async def _events(self) -> AsyncIterator[bytes]:
        buffer = b""
        try:
            async for piece in self.answer.aiter_bytes():
                *whole, buffer = (buffer + piece).replace(b"\r\n", b"\n").split(b"\n\n")
                for one in whole:
                    if self.meter.event(one):
                        yield one + b"\n\n"
            if buffer and self.meter.event(buffer):
                yield buffer
        except httpx.HTTPError:
            yield event(error_body(503, self.upstream.lost("broke off")))
            yield DONE


def _chunk(event: bytes) -> dict[str, Any] | None:
    """The JSON object of one Server-Sent Event; None for a comment and `[DONE]`."""
    data = b"\n".join(line[5:].strip() for line in event.splitlines() if line.startswith(b"data:"))
    try:
        value = json.loads(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


Outgoing = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Upstreams:
    """All upstreams, by the first part of a model's name."""

    def __init__(
        self,
        upstreams: Sequence[Upstream] = (),
        metrics: Metrics | None = None,
        guard: Guard | None = None,
    ) -> None:
        self._by_name = {upstream.name: upstream for upstream in upstreams}
        self.metrics, self.guard = metrics, guard
        self.draining = False  # requests that have begun are answered, new ones are refused
        self.outgoing: Outgoing | None = None
        """What leaves for an upstream in place of a request's body; it may refuse."""
        self.holding = Holding()
        """Where answers go that the guard holds for a person, those of this server's models too."""

    async def answer(self, request: Request, raw: bytes) -> Response | None:
        """The upstream's answer to a request with this body; None if its model is served here."""
        found = self.of(raw)
        if found is None:
            return None
        upstream, body = found
        if self.draining:
            message = f"The server is shutting down; {upstream.name} takes no new request."
            raise BusyError(message, code="shutting_down")
        must_be_allowed(caller(request), str(body["model"]))
        path, far = request.url.path.removeprefix("/v1"), None
        if self.guard is not None and FarGuard.applies(path, body):
            hold = self.holding.of(request, str(body["model"]))
            far = FarGuard(self.guard, partial(self._guarded, visit_of(request.scope), hold), path, body)
            if (stand_in := await far.stand_in()) is not None:
                return stand_in
        if self.outgoing is not None:
            body = await self.outgoing(body)
        meter = Meter(request, raw, body, upstream.label(str(body["model"])), self.metrics)
        answer = await while_connected(request, upstream.forward(path, body, meter))
        return answer if far is None else await far.through(answer)

    def _guarded(
        self,
        visit: Visit,
        hold: Hold,
        counts: Sequence[tuple[str, str]],
        decision: Decision | None,
        written: str,
    ) -> None:
        hold(decision, written)
        visit.guarded(counts, None if decision is None else decision.record())
        if self.metrics is not None:
            self.metrics.guard_acted(counts)

    def of(self, raw: bytes) -> tuple[Upstream, dict[str, Any]] | None:
        """(the upstream, the parsed body); None if the model is served here or the body is not JSON."""
        if not self._by_name:
            return None
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        model = body.get("model") if isinstance(body, dict) else None
        upstream = self.named(model) if isinstance(model, str) else None
        return None if upstream is None else (upstream, body)

    def named(self, model: str) -> Upstream | None:
        """The upstream that serves the model of this name; None for a model of this server."""
        upstream, slash, _ = model.partition("/")
        return self._by_name.get(upstream) if slash else None

    def check_names(self, ours: Iterable[str]) -> None:
        """
        Raises:
            UsageError: a local model's name begins with an upstream's name.
        """
        for name in ours:
            if name.partition("/")[0] in self._by_name:
                raise UsageError(
                    f"{name} is served here, so no upstream can be called {name.partition('/')[0]}."
                )

    async def models(self) -> list[dict[str, Any]]:
        return [model for upstream in self._by_name.values() for model in await upstream.models()]

    async def close(self) -> None:
        for upstream in self._by_name.values():
            await upstream.close()
