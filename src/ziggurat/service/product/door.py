"""The routes that need no login: set-up, registration, login and logout."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.product import registration, sessions
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import Empty, Login, Register, SetUp
from ziggurat.service.product.house import House, give_cookie, prefix_of


def door_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api", tags=["people"]), house.services.limits

    @routes.post("/setup", **takes(SetUp))
    async def set_up(request: Request) -> Response:
        need_accounts(house)
        body = await read_body(request, SetUp, limits)
        await house.run(
            registration.set_up,
            token=body.token,
            email=body.email,
            name=body.name,
            password=body.password,
            ip_prefix=prefix_of(request),
        )
        return await let_in(house, request, body.email, body.password, 201)

    @routes.post("/register", **takes(Register))
    async def register(request: Request) -> Response:
        need_accounts(house)
        body = await read_body(request, Register, limits)
        await house.run(
            registration.register,
            email=body.email,
            name=body.name,
            password=body.password,
            invitation=body.invitation,
            ip_prefix=prefix_of(request),
        )
        return await let_in(house, request, body.email, body.password, 201)

    @routes.post("/login", **takes(Login))
    async def log_in(request: Request) -> Response:
        need_accounts(house)
        body = await read_body(request, Login, limits)
        return await let_in(house, request, body.email, body.password)

    @routes.post("/logout", **takes(Empty))
    async def log_out(request: Request) -> Response:
        need_accounts(house)
        principal = await house.maybe(request)
        if principal is not None:
            await house.run(sessions.log_out, principal)
        response = Json({"logged_out": True})
        give_cookie(request, response, None)
        return response

    return routes


def need_accounts(house: House) -> None:
    """Refuse a request where nobody can log in."""
    if house.mode != "accounts":
        message = "This server has no accounts; start it with --accounts to let people register."
        raise ApiError(404, message, code="no_accounts")


async def let_in(house: House, request: Request, email: str, password: str, status: int = 200) -> Response:
    """Log somebody in: who it is and the CSRF token, with the session's cookie."""
    person, secret, csrf = await house.run(
        sessions.log_in,
        email=email,
        password=password,
        ip_prefix=prefix_of(request),
        user_agent=request.headers.get("user-agent", "")[:300],
    )
    response = Json({"person": person.model_dump(), "csrf": csrf}, status)
    give_cookie(request, response, secret)
    return response
