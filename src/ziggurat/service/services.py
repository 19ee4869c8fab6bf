"""The objects that all endpoints share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from ziggurat.safety.guard import Guard
from ziggurat.safety.moderator import Moderator
from ziggurat.service.access.keys import Keyring
from ziggurat.service.http.body import parse, read_raw
from ziggurat.service.http.limits import Limits
from ziggurat.service.models.library import Library
from ziggurat.service.models.response_store import ResponseStore
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.observe.metrics import Metrics
from ziggurat.service.observe.request_log import RequestLog
from ziggurat.service.upstream.servers import Upstreams

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What one server is made of. `close` may be called twice."""

    limits: Limits
    shelf: Shelf
    upstreams: Upstreams
    responses: ResponseStore
    moderator: Moderator
    metrics: Metrics
    keyring: Keyring | None = None
    """None: no login, no quotas."""
    library: Library | None = None
    """Where the models came from; None: they cannot be loaded again."""
    request_log: RequestLog | None = None
    guard: Guard | None = None
    """None: neither requests nor answers are examined."""

    async def read(self, request: Request, kind: type[B]) -> B | Response:
        """The body as a `kind`, or the answer of the upstream that serves its model."""
        raw = await read_raw(request, self.limits)
        answered = await self.upstreams.answer(request, raw)
        return parse(kind, raw) if answered is None else answered

    def drain(self) -> None:
        """Take no new request; requests that have begun are answered."""
        self.shelf.drain()
        self.upstreams.draining = True

    async def end(self) -> None:
        """End the answers that are still being written, with an error."""
        self.shelf.close(timeout_s=0)
        await self.upstreams.close()

    async def close(self) -> None:
        await self.responses.close()
        self.shelf.close()
        await self.upstreams.close()
        if self.request_log is not None:
            self.request_log.close()
