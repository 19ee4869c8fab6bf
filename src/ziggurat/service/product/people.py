"""`/api/me`: what a person sees and changes of oneself: profile, data, consents, sessions, API keys, the way out."""

from __future__ import annotations

import tempfile
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, Response

from ziggurat.product import consents, deletion, export, keys, people, registration, sessions, workspaces
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import ChangedMe, Given, Goodbye, NewKey, NewPassword
from ziggurat.service.product.house import House, give_cookie
from ziggurat.version import __version__


def people_routes(house: House) -> APIRouter:
    routes, limits = APIRouter(prefix="/api", tags=["people"]), house.services.limits

    @routes.get("/me")
    async def me(request: Request) -> Response:
        principal = await house.maybe(request)
        shown: dict[str, Any] = {
            "person": None,
            "mode": house.mode,
            "needs_setup": house.mode == "accounts" and await house.run(registration.needs_setup),
            "registration": await house.run(workspaces.registration)
            if house.mode == "accounts"
            else "closed",
            "csrf": "",
            "oidc": house.elsewhere.name if house.elsewhere is not None else None,
            "version": __version__,
        }
        if principal is not None:
            shown |= (await house.run(people.me, principal)).model_dump()
            if house.mode == "accounts":
                shown["csrf"] = principal.csrf
        return Json(shown)

    @routes.patch("/me", **takes(ChangedMe))
    async def change(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedMe, limits)
        return (await house.run(people.change_me, principal, body.fields())).model_dump()

    @routes.delete("/me", **takes(Goodbye))
    async def leave(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, Goodbye, limits)
        for generation in house.generations.running(principal.person_id):
            await house.generations.stop(generation, None)
        await house.run(deletion.delete_account, principal, password=body.password)
        response = Json({"deleted": True})
        give_cookie(request, response, None)
        return response

    @routes.get("/me/export")
    async def everything(request: Request) -> Response:
        principal = await house.who(request)
        file = tempfile.NamedTemporaryFile(suffix=".zip")
        await house.run(export.export_me, principal, file)  # type: ignore[arg-type]
        return zip_answer(file, "my-data.zip")

    @routes.put("/me/consents/{purpose}", **takes(Given))
    async def consent(request: Request, purpose: str) -> dict[str, bool]:
        principal, body = await house.who(request), await read_body(request, Given, limits)
        return await house.run(consents.set_consent, principal, purpose, body.given)

    return routes


def session_routes(house: House) -> APIRouter:
    """My password and where I am logged in."""
    routes, limits = APIRouter(prefix="/api/me", tags=["people"]), house.services.limits

    @routes.post("/password", **takes(NewPassword))
    async def password(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewPassword, limits)
        await house.run(sessions.change_password, principal, old=body.old, new=body.new)
        return Json({"changed": True})

    @routes.get("/sessions")
    async def my_sessions(request: Request) -> dict[str, Any]:
        found = await house.run(sessions.list_sessions, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.delete("/sessions/{session_id}")
    async def end_session(request: Request, session_id: str) -> Response:
        await house.run(sessions.end_session, await house.who(request), session_id)
        return Json({"ended": True})

    return routes


def key_routes(house: House) -> APIRouter:
    """My keys of the API."""
    routes, limits = APIRouter(prefix="/api/me/keys", tags=["people"]), house.services.limits

    @routes.get("")
    async def my_keys(request: Request) -> dict[str, Any]:
        found = await house.run(keys.list_keys, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("", **takes(NewKey))
    async def new_key(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewKey, limits)
        key, secret = await house.run(
            keys.create_key,
            principal,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.expires_at,
            limits=body.limits,
            model_allow=body.model_allow,
        )
        return Json({**key.model_dump(), "secret": secret}, 201)

    @routes.delete("/{key_id}")
    async def revoke(request: Request, key_id: str) -> Response:
        await house.run(keys.revoke_key, await house.who(request), key_id)
        return Json({"revoked": True})

    return routes


def zip_answer(file: Any, name: str) -> Response:
    """A finished temporary file as a download; it is deleted afterwards."""
    file.flush()

    async def close() -> None:
        await anyio.to_thread.run_sync(file.close)

    return FileResponse(
        file.name, media_type="application/zip", filename=name, background=BackgroundTask(close)
    )
