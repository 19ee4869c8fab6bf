"""What is known of one HTTP request once it has ended: whoever learns something on the way writes it down.

The middleware opens a `Visit` and hands it on when the answer is whole or the client has gone. Nothing in it is text
that a client wrote.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from ziggurat.service.observe.metrics import Metrics
    from ziggurat.service.observe.request_log import RequestLog

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

LimitScope = Literal["requests", "tokens", "concurrent", "waiting"]
"""What a 429 was for: a minute's requests or tokens, answers at once, or places in the line."""
AuthFailure = Literal["no_key", "unknown_key", "not_admin"]


@dataclass
class Visit:
    """One request. `route` is the template of its path, `other` where there is none, as for a method that is none."""

    method: str = "other"
    route: str = "other"
    status: int = 500  # unless an answer began
    began: float = field(default_factory=time.perf_counter)
    elapsed_s: float = 0.0
    streamed: bool = False  # as Server-Sent Events
    whole: bool = False  # its last byte was handed over
    over_limit: LimitScope | None = None
    auth_failure: AuthFailure | None = None
    request_id: str | None = None  # chosen by the client, or drawn
    key: str | None = None  # its name
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def left(self) -> bool:
        """Whether a stream ended before its end: its client went away."""
        return self.streamed and not self.whole

    def count(self, *, prompt: int, written: int) -> None:
        """So many tokens were read and written for it."""
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt
        self.completion_tokens = (self.completion_tokens or 0) + written


def visit_of(scope: Scope) -> Visit:
    """Whoever serves parts of the application without the middleware gets one that nobody reads."""
    found = scope.setdefault("state", {}).setdefault("visit", Visit())
    assert isinstance(found, Visit)
    return found


class Visited:
    """ASGI middleware, outside all others: tells the metrics, and the log where there is one, of every request."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log: RequestLog | None = None) -> None:
        self.app, self.metrics, self.log = app, metrics, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        visit = visit_of(scope)
        if scope["method"] in METHODS:
            visit.method = scope["method"]

        async def send_seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if kind.startswith("text/event-stream"):
                    visit.streamed = True
                    self.metrics.streams.inc()
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                visit.whole = True
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        finally:
            visit.route = getattr(scope.get("route"), "path", "other")
            visit.elapsed_s = time.perf_counter() - visit.began
            self.metrics.visited(visit)
            if self.log is not None:
                self.log.write(visit)
