"""Logging in at a provider of OpenID Connect: `serve --accounts --oidc ISSUER --oidc-client ID`.

    GET /api/oidc/start       to the provider, with a state in a cookie of this browser
    GET /api/oidc/callback    back from it: the code becomes an identity, the identity a session

The client's secret comes from ZIGGURAT_OIDC_SECRET. The provider's documents are read when somebody logs in and kept
for KEPT_S. Only addresses of the operator's own setting are asked; redirects are not followed.
"""

from __future__ import annotations

import time
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import RedirectResponse, Response

from ziggurat.product import identities, oidc
from ziggurat.product.oidc import Provider
from ziggurat.service.http.problems import ApiError
from ziggurat.service.product.house import House, give_cookie, is_secure, prefix_of

COOKIE = "ziggurat_oidc"
COOKIE_S = 600
KEPT_S = 3600.0
TIMEOUT_S = 10.0
MOST_BYTES = 1 << 20


class Elsewhere:
    """One provider: its discovery document and its keys, read when they are needed."""

    def __init__(self, issuer: str, client_id: str, client_secret: str = "") -> None:
        self.issuer, self.client_id, self.client_secret = issuer.rstrip("/"), client_id, client_secret
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)
        self._provider: Provider | None = None
        self._keys: dict[str, Any] = {}
        self._read_at = -KEPT_S

    @property
    def name(self) -> str:
        """What the page's button says."""
        return urlsplit(self.issuer).hostname or self.issuer

    async def provider(self) -> Provider:
        """
        Raises:
            ApiError: 503 if its documents cannot be read.
        """
        if self._provider is None or time.monotonic() - self._read_at > KEPT_S:
            found = await self._json("GET", f"{self.issuer}/.well-known/openid-configuration")
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                raise self._lost("calls itself by another name than --oidc")
            try:
                known = {"client_id": self.client_id, "client_secret": self.client_secret}
                self._provider = Provider.model_validate({**found, **known})
            except ValidationError:
                raise self._lost("has no complete description") from None
            self._keys = await self._json("GET", self._provider.jwks_uri)
            self._read_at = time.monotonic()
        return self._provider

    async def claims(self, form: dict[str, str], nonce: str) -> dict[str, Any]:
        """What it says about the person to whom a code belongs."""
        provider = await self.provider()
        answer = await self._json("POST", provider.token_endpoint, form)
        token = str(answer.get("id_token") or "")
        return oidc.claims(provider, token, self._keys, nonce, int(time.time()))

    async def _json(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            answer = await self._client.request(method, url, data=form)
            found = answer.raise_for_status().json() if len(answer.content) <= MOST_BYTES else None
        except (httpx.HTTPError, ValueError):
            raise self._lost("does not answer") from None
        if not isinstance(found, dict):
            raise self._lost("answers in another form")
        return cast("dict[str, Any]", found)

    def _lost(self, how: str) -> ApiError:
        return ApiError(
            503, f"The login of {self.name} {how}; try again, or log in by password.", code="oidc_down"
        )

    async def close(self) -> None:
        await self._client.aclose()


def oidc_routes(house: House) -> APIRouter:
    routes, elsewhere = APIRouter(prefix="/api/oidc", tags=["people"]), house.elsewhere

    @routes.get("/start")
    async def start(request: Request) -> Response:
        if elsewhere is None:
            raise ApiError(404, "This server knows no other login than by password.", code="no_oidc")
        provider = await elsewhere.provider()
        flow = await house.run(oidc.begin, provider, f"{request.base_url}api/oidc/callback")
        response = RedirectResponse(flow.url, 303)
        response.set_cookie(
            COOKIE,
            flow.state,
            max_age=COOKIE_S,
            path="/api/oidc",
            httponly=True,
            samesite="lax",
            secure=is_secure(request),
        )
        return response

    @routes.get("/callback")
    async def callback(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
        if elsewhere is None:
            raise ApiError(404, "This server knows no other login than by password.", code="no_oidc")
        if error or not code:
            return RedirectResponse("/login?refused=1", 303)
        provider = await elsewhere.provider()
        asked = await house.run(oidc.token_request, provider, state, request.cookies.get(COOKIE, ""), code)
        said = await elsewhere.claims(asked.form, asked.nonce)
        _, secret, _ = await house.run(
            identities.log_in_with,
            provider=elsewhere.issuer,
            subject=str(said["sub"]),
            email=said.get("email"),
            email_verified=said.get("email_verified") is True,
            name=str(said.get("name") or ""),
            locale=str(said.get("locale") or ""),
            ip_prefix=prefix_of(request),
            user_agent=request.headers.get("user-agent", "")[:300],
        )
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE, path="/api/oidc")
        give_cookie(request, response, secret)
        return response

    return routes
