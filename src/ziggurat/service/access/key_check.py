"""Checks the key of every request, and the key's requests a minute.

Open without a key are the page, health, readiness and the version: they hold nothing private. Everything else answers
401 without a key and 429 when the key has used up its requests. Tokens are known only when the prompt has been read, so
the endpoints count them: see `admission.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.service.access.admission import too_many
from ziggurat.service.access.keys import Keyring
from ziggurat.service.http.problems import ApiError, response_for
from ziggurat.service.observe.visits import visit_of

OPEN = frozenset({"/", "/health", "/ready", "/version"})


class KeyCheck:
    """ASGI middleware; puts the key's quota into `request.state.quota` for `caller`. `is_open`: paths without a key."""

    def __init__(
        self, app: ASGIApp, *, keyring: Keyring | None, is_open: Callable[[str], bool] = OPEN.__contains__
    ) -> None:
        self.app, self.keyring, self.is_open = app, keyring, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self.keyring is None or self.is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        authorization = Headers(scope=scope).get("authorization", "")
        quota, visit = self.keyring.quota(authorization), visit_of(scope)
        if quota is None:
            visit.auth_failure = "unknown_key" if authorization else "no_key"
            message = "This server needs an API key: send Authorization: Bearer <key>."
            await response_for(ApiError(401, message, code="invalid_api_key"))(scope, receive, send)
            return
        scope.setdefault("state", {})["quota"] = quota
        visit.key = quota.key.name

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in quota.headers().items():
                    headers[name] = value
            await send(message)

        if scope["method"] == "POST":
            wait_s = quota.requests.seconds_until(1)
            if wait_s > 0:
                visit.over_limit = "requests"
                refusal = too_many("requests", quota.key.requests_per_minute, wait_s)
                await response_for(refusal)(scope, receive, send_counted)
                return
            quota.requests.take(1)
        await self.app(scope, receive, send_counted)
