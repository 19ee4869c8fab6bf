"""Checks the key of every request, and the key's requests a minute.

Open without a key are the page, health, readiness and the version: they hold nothing private. Everything else answers
401 without a key and 429 when the key has used up its requests. Tokens are known only when the prompt has been read, so
the endpoints count them: see `admission.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.errors import ZigguratError
from ziggurat.service.access.admission import too_many
from ziggurat.service.access.keys import Keyring, Quota
from ziggurat.service.http.problems import ApiError, response_for
from ziggurat.service.models.shelf import ASKER
from ziggurat.service.observe.visits import visit_of

MoreKeys = Callable[[str], Awaitable[Quota | None]]
"""Keys that are kept elsewhere: the quota of an Authorization header, None if it is unknown."""
SCOPES = (
    ("/v1/models", "chat"),
    ("/v1/embeddings", "embeddings"),
    ("/v1/files", "files"),
    ("/v1/fine_tuning", "fine_tune"),
    ("/admin", "admin"),
    ("/metrics", "admin:read"),
)
"""The scope that a path needs, by its beginning; any other needs `chat`."""
OPEN = frozenset({"/", "/health", "/ready", "/version"})


class KeyCheck:
    """ASGI middleware; puts the key's quota into `request.state.quota` for `caller`. `is_open`: paths without a key."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring | None,
        more: MoreKeys | None = None,
        is_open: Callable[[str], bool] = OPEN.__contains__,
    ) -> None:
        self.app, self.keyring, self.more, self.is_open = app, keyring, more, is_open

    async def quota(self, authorization: str) -> Quota | None:
        """
        Raises:
            ZigguratError: the key is known, and what it may use today is used up.
        """
        found = self.keyring.quota(authorization) if self.keyring is not None else None
        if found is None and self.more is not None and authorization:
            found = await self.more(authorization)
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keyless = self.keyring is None and self.more is None
        if scope["type"] != "http" or keyless or self.is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        authorization, visit = Headers(scope=scope).get("authorization", ""), visit_of(scope)
        try:
            quota = await self.quota(authorization)
        except ZigguratError as error:
            visit.over_limit = "tokens"
            await response_for(error)(scope, receive, send)
            return
        if quota is None:
            visit.auth_failure = "unknown_key" if authorization else "no_key"
            message = "This server needs an API key: send Authorization: Bearer <key>."
            await response_for(ApiError(401, message, code="invalid_api_key"))(scope, receive, send)
            return
        if refusal := out_of_scope(quota, scope["path"]):
            visit.auth_failure = "not_admin"
            await response_for(refusal)(scope, receive, send)
            return
        scope.setdefault("state", {})["quota"] = quota
        visit.key = quota.key.name
        ASKER.set(quota.person_id or quota.key.sha256)

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
                slower = too_many("requests", quota.key.requests_per_minute, wait_s)
                await response_for(slower)(scope, receive, send_counted)
                return
            quota.requests.take(1)
        try:
            await self.app(scope, receive, send_counted)
        finally:
            if quota.spend is not None and visit.prompt_tokens is not None:
                await quota.spend(visit.prompt_tokens, visit.completion_tokens or 0)


def out_of_scope(quota: Quota, path: str) -> ApiError | None:
    """The refusal for a path that the key's scopes do not cover."""
    if quota.scopes is None:
        return None
    needed = next((scope for prefix, scope in SCOPES if path.startswith(prefix)), "chat")
    if needed in quota.scopes:
        return None
    message = f"This key has the scopes {', '.join(sorted(quota.scopes)) or '(none)'}; {path} needs {needed}."
    return ApiError(403, message, code="scope")
