"""The outermost middleware: hands every request's `Visit` to the metrics and to the log."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.service.observe.metrics import Metrics
from ziggurat.service.observe.request_log import RequestLog
from ziggurat.service.observe.visits import visit_of

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Observed:
    """ASGI middleware. It is outside of all others, so that refused requests count too."""

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
