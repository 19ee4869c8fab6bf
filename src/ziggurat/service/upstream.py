"""Models that live elsewhere: any OpenAI-compatible server, under a name of our own.

    ziggurat serve town/ppo --upstream cluster=http://10.0.0.5:8000/v1

Its models appear in `/v1/models` as `cluster/<their id>`; a request for one is passed on as it came, with the model's
own id and the upstream's key (`ZIGGURAT_UPSTREAM_CLUSTER_KEY`), and its answer comes back as it is written. What a
client sent as its key stays here. An upstream that cannot be reached is a 503, one that fails while it answers ends the
stream with an error event.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import httpx
from starlette.responses import JSONResponse, Response, StreamingResponse

from ziggurat.errors import UsageError
from ziggurat.service.problems import ApiError, error_body
from ziggurat.service.streams import DONE, event

LISTED_S = 30.0
"""How long a list of models is believed."""
TIMEOUT = httpx.Timeout(600.0, connect=5.0)
LIST_TIMEOUT_S = 3.0


class Upstream:
    """One server elsewhere."""

    def __init__(self, name: str, url: str, key: str | None = None) -> None:
        self.name, self.url = name, url.rstrip("/")
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        self._client = httpx.AsyncClient(headers=headers, timeout=TIMEOUT, trust_env=False)
        self._listed: list[dict[str, Any]] = []
        self._listed_at = -LISTED_S

    @classmethod
    def parse(cls, text: str) -> Upstream:
        """`cluster=http://10.0.0.5:8000/v1`; its key from the environment."""
        name, _, url = text.partition("=")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or not re.match(r"https?://\S+$", url):
            raise UsageError(
                f"{text!r} is no upstream; write NAME=URL, for instance cluster=http://10.0.0.5:8000/v1."
            )
        variable = f"ZIGGURAT_UPSTREAM_{name.upper().replace('-', '_')}_KEY"
        return cls(name, url, os.environ.get(variable))

    async def models(self) -> list[dict[str, Any]]:
        """Its models under our names; those last heard of while it cannot be reached."""
        if time.monotonic() - self._listed_at > LISTED_S:
            self._listed_at = time.monotonic()
            try:
                told = await self._client.get(f"{self.url}/models", timeout=LIST_TIMEOUT_S)
                listed = told.raise_for_status().json()["data"]
                self._listed = [
                    {**model, "id": f"{self.name}/{model['id']}", "object": "model", "owned_by": self.name}
                    for model in listed
                ]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                self._listed_at -= 0.9 * LISTED_S  # ask again soon
        return self._listed

    async def forward(self, path: str, body: dict[str, Any]) -> Response:
        """POST `body` to `path` there, with the model's own id; the answer as it comes."""
        sent = {**body, "model": str(body["model"]).removeprefix(f"{self.name}/")}
        request = self._client.build_request("POST", f"{self.url}{path}", json=sent)
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError:
            raise ApiError(
                503,
                f"The server behind {self.name} cannot be reached; try again in a moment.",
                retry_after_s=5,
            ) from None
        kind = answer.headers.get("content-type", "application/json")
        if not kind.startswith("text/event-stream"):
            return await self._whole(answer)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._pieces(answer), 200, headers, media_type="text/event-stream")

    async def _whole(self, answer: httpx.Response) -> Response:
        try:
            told = json.loads(await answer.aread())
        except (httpx.HTTPError, ValueError):
            return JSONResponse(error_body(503, f"The server behind {self.name} gave no answer."), 503)
        finally:
            await answer.aclose()
        status = answer.status_code
        if status >= 400 and not (isinstance(told, dict) and isinstance(told.get("error"), dict)):
            told = error_body(status, f"The server behind {self.name} refused the request.")
        return JSONResponse(told, 503 if status in (401, 403) or status >= 500 else status)

    async def _pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Closing this, as a client that leaves does, closes the stream over there."""
        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.HTTPError:
            yield event(error_body(503, f"The server behind {self.name} broke off."))
            yield DONE
        finally:
            await answer.aclose()

    async def close(self) -> None:
        await self._client.aclose()


class Upstreams:
    """All of them, by the first part of a model's name."""

    def __init__(self, upstreams: Sequence[Upstream] = ()) -> None:
        self._by_name = {upstream.name: upstream for upstream in upstreams}

    def of(self, raw: bytes) -> tuple[Upstream, dict[str, Any]] | None:
        """Who answers this body, and the body; None if it is for us (or is no JSON: then we refuse it)."""
        if not self._by_name:
            return None
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return None
        model = body.get("model") if isinstance(body, dict) else None
        upstream = self._by_name.get(model.partition("/")[0]) if isinstance(model, str) else None
        return None if upstream is None or "/" not in str(model) else (upstream, body)

    def check_names(self, ours: Iterable[str]) -> None:
        """No model of ours may look like one of theirs."""
        for name in ours:
            if name.partition("/")[0] in self._by_name:
                raise UsageError(
                    f"{name} is served here, so no upstream can have that first name; choose another."
                )

    async def models(self) -> list[dict[str, Any]]:
        return [model for upstream in self._by_name.values() for model in await upstream.models()]

    async def close(self) -> None:
        for upstream in self._by_name.values():
            await upstream.close()
