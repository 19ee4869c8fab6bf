"""What the product's routes share: the store, who asks, the answers that are being written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec, TypeVar

import anyio.to_thread
from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as ASGIMessage

from ziggurat.product import people, sessions
from ziggurat.product.errors import Unauthorized
from ziggurat.product.principal import Principal
from ziggurat.service.access.guard import is_loopback
from ziggurat.service.http.problems import ApiError
from ziggurat.service.observe.visits import visit_of
from ziggurat.service.product.climber import Climber
from ziggurat.service.product.generations import Generations
from ziggurat.service.product.serving import Serving
from ziggurat.service.product.working import Working
from ziggurat.service.services import Services
from ziggurat.store.store import Store

if TYPE_CHECKING:
    from ziggurat.safety.guard import Guard
    from ziggurat.service.product.oidc import Elsewhere

Mode = Literal["local", "accounts"]
COOKIE, SECURE_COOKIE = "ziggurat", "__Host-ziggurat"
COOKIE_S = 30 * 24 * 3600
SAFE = frozenset({"GET", "HEAD"})
DOORS = frozenset(
    {
        *("/api/me", "/api/setup", "/api/register", "/api/login", "/api/logout"),
        *("/api/oidc/start", "/api/oidc/callback"),
    }
)
SHARED = "/api/shared/"
"""Open without a login; each of these routes asks for what it needs itself."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(kw_only=True)
class House:
    """The product of one server."""

    services: Services
    store: Store
    guard: Guard
    mode: Mode = "local"
    climber: Climber | None = None
    """Begins climbs and serves what they make."""
    serving: Serving | None = None
    """Releases behind their channels."""
    working: Working | None = None
    """Works on the flywheel's jobs."""
    elsewhere: Elsewhere | None = None
    """Another login than by password."""
    generations: Generations = field(default_factory=Generations)

    async def run(self, rule: Callable[Concatenate[Store, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """A rule, on a worker thread: the event loop never waits for the database."""
        return await anyio.to_thread.run_sync(partial(rule, self.store, *args, **kwargs))

    async def who(self, request: Request) -> Principal:
        """Who asks. What changes something in accounts mode also needs the session's CSRF token.

        Raises:
            Unauthorized: nobody is logged in.
            Forbidden: the CSRF token is missing or wrong.
            ApiError: 403 in local mode for a request from another machine.
        """
        known: Principal | None = getattr(request.state, "principal", None)
        if known is None:
            known = await self._known(request)
            if known is None:
                raise Unauthorized("Nobody is logged in; log in first.")
            request.state.principal, request.state.person_id = known, known.person_id
        return known

    async def _known(self, request: Request) -> Principal | None:
        address, request_id = prefix_of(request), visit_of(request.scope).request_id or ""
        if self.mode == "local":
            if request.client is not None and not is_loopback(request.client.host):
                message = (
                    "Without accounts the page is for this machine alone; start the server with --accounts."
                )
                raise ApiError(403, message, code="local_only")
            return await self.run(people.local_principal, ip_prefix=address, request_id=request_id)
        cookie = request.cookies.get(cookie_name(request))
        if not cookie:
            return None
        found = await self.run(sessions.principal_of, cookie, ip_prefix=address, request_id=request_id)
        if found is None:
            return None
        principal, rotated = found
        request.state.rotated = rotated
        if request.method not in SAFE:
            sessions.check_csrf(principal, request.headers.get("x-csrf-token"))
        return principal

    async def maybe(self, request: Request) -> Principal | None:
        """Who asks, or None where nobody is logged in."""
        try:
            return await self.who(request)
        except Unauthorized:
            return None

    async def gate(self, request: Request) -> None:
        """A dependency of every route below `/api`: no one passes without a login but by the doors."""
        if request.url.path not in DOORS and not request.url.path.startswith(SHARED):
            await self.who(request)

    async def close(self) -> None:
        """End the answers and the climbs; both are kept as far as they came. The store stays open."""
        await self.generations.close()
        if self.elsewhere is not None:
            await self.elsewhere.close()
        if self.working is not None:
            await anyio.to_thread.run_sync(self.working.end)
        if self.climber is not None:
            await anyio.to_thread.run_sync(self.climber.close)


def is_secure(request: Request) -> bool:
    """Whether the browser speaks HTTPS; a proxy on this machine says so by X-Forwarded-Proto."""
    return request.url.scheme == "https"


def cookie_name(request: Request) -> str:
    return SECURE_COOKIE if is_secure(request) else COOKIE


def give_cookie(request: Request, response: Response, secret: str | None) -> None:
    """Set the session's cookie; None takes it away. Over HTTPS it has a name that no other host can set."""
    response.set_cookie(
        cookie_name(request),
        secret or "",
        max_age=COOKIE_S if secret else 0,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


class RotatedCookies:
    """ASGI middleware: a session's new secret, which any request may bring about, goes out with its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_cookie(message: ASGIMessage) -> None:
            secret: str | None = scope.get("state", {}).get("rotated")
            if message["type"] == "http.response.start" and secret:
                carrier = Response()
                give_cookie(Request(scope), carrier, secret)
                cookie = carrier.headers["set-cookie"]
                headers = MutableHeaders(scope=message)
                if "set-cookie" not in headers:  # a login or a logout has set its own
                    headers.append("set-cookie", cookie)
            await send(message)

        await self.app(scope, receive, send_with_cookie)


def prefix_of(request: Request) -> str:
    """The network of the caller's address: /24 of IPv4, /48 of IPv6. What is stored names no single machine."""
    host = request.client.host if request.client is not None else ""
    if ":" in host:
        return ":".join(host.split(":")[:3])
    return ".".join(host.split(".")[:3])
