"""Checks where every request comes from, and adds the security headers to every answer.

A foreign web page must not use the server through its visitor's browser:

    DNS rebinding      a foreign name resolves to 127.0.0.1       the Host header must be a known name
    cross-site calls   a foreign page posts to the server         the Origin must be its own; there is no CORS

It does not protect against other programs or other users of this machine.
"""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ziggurat.service.http.problems import ApiError, response_for
from ziggurat.service.observe.visits import visit_of

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HSTS = "max-age=31536000"
"""Sent over HTTPS only, which a proxy before this server speaks."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def host_name(authority: str) -> str:
    """`localhost:8000` -> `localhost`, `[::1]:8000` -> `::1`; "" for an invalid authority."""
    if any(character in authority for character in "/?#@\\ "):
        return ""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """`http://localhost:8000` -> `localhost:8000`; None for an invalid origin."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    inner = getattr(
        address, "ipv4_mapped", None
    )  # ::ffff:127.0.0.1, as a socket for IPv4 and IPv6 reports it
    return (inner or address).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware: Host and Origin checks, `x-request-id`, and the security headers.

    `exposed`: the server listens beyond loopback, so any IP address is a valid Host too (rebinding needs a name).
    `allowed_hosts` are further names.
    """

    def __init__(self, app: ASGIApp, *, allowed_hosts: Iterable[str] = (), exposed: bool = False) -> None:
        self.app = app
        self.names = LOOPBACK_NAMES | {name.lower() for name in allowed_hosts}
        self.exposed = exposed

    def refusal(self, headers: Headers) -> str | None:
        """Why this request is refused, or None."""
        authority = headers.get("host", "")
        host = host_name(authority)
        if not (host in self.names or (self.exposed and _is_address(host))):
            return (
                f"Host {authority!r} is not a name of this server; use http://localhost, or --allowed-host."
            )
        origin = headers.get("origin")
        if origin is not None and _place(origin) != authority.lower():
            return f"Origin {origin} is not this server; only its own pages may send requests."
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{secrets.token_hex(8)}"
        visit_of(scope).request_id = request_id

        began = False

        async def send_marked(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                out = MutableHeaders(scope=message)
                out["x-request-id"] = request_id
                out.setdefault("x-content-type-options", "nosniff")
                out.setdefault("referrer-policy", "no-referrer")
                out.setdefault("cross-origin-resource-policy", "same-origin")
                out.setdefault("cache-control", "no-store")
                if scope.get("scheme") == "https":
                    out.setdefault("strict-transport-security", HSTS)
            await send(message)

        if reason := self.refusal(headers):
            await response_for(ApiError(403, reason, code="host_not_allowed"))(scope, receive, send_marked)
            return
        try:
            await self.app(scope, receive, send_marked)
        except Exception as error:
            if began:
                raise
            # Starlette would answer a bug outside of all middleware, without these headers
            await response_for(error)(scope, receive, send_marked)
