"""`/api/admin`: people, keys, running generations, settings, the guard's rules, held answers, the audit."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.product import audit, budgets, held, judgements, keys, people, registration, rules, workspaces
from ziggurat.product import generations as kept
from ziggurat.safety.rules import Match
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import AnyFields, ChangedPerson, Decision, Empty, NewInvitation, TryText
from ziggurat.service.product.house import House
from ziggurat.service.product.store_rules import builtin_ids, switch_builtin, usable, with_builtin
from ziggurat.workbench.review.held import decide_held

Cursor = Annotated[str | None, Query(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=200)]


def product_admin_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/admin", tags=["administration"])
    _people(house, routes)
    _rules(house, routes)
    limits, verified = house.services.limits, audit.Verified()

    @routes.get("/settings")
    async def settings(request: Request) -> dict[str, Any]:
        return await house.run(workspaces.get_settings, await house.who(request))

    @routes.put("/settings", **takes(AnyFields))
    async def change_settings(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, AnyFields, limits)
        return await house.run(workspaces.change_settings, principal, body.fields())

    @routes.get("/generations")
    async def running(request: Request) -> dict[str, Any]:
        found = await house.run(kept.running, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/generations/{generation_id}/cancel", **takes(Empty))
    async def cancel(request: Request, generation_id: str) -> dict[str, Any]:
        ended = await house.run(kept.cancel, await house.who(request), generation_id)
        live = house.generations.find(generation_id)
        if live is not None:
            await house.generations.stop(live, None)
        return ended.model_dump()

    @routes.get("/judgements")
    async def judged(
        request: Request, kind: str | None = None, cursor: Cursor = None, limit: Limit = 100
    ) -> dict[str, Any]:
        page = await house.run(
            judgements.list_judgements, await house.who(request), kind=kind, cursor=cursor, limit=limit
        )
        return page.model_dump()

    @routes.get("/audit")
    async def entries(
        request: Request, cursor: Cursor = None, limit: Limit = 100, verify: bool = False
    ) -> dict[str, Any]:
        page = await house.run(audit.list_events, await house.who(request), cursor=cursor, limit=limit)
        broken = await anyio.to_thread.run_sync(partial(verified.broken, house.store, whole=verify))
        return {**page.model_dump(), "broken": broken, "verified_at": verified.whole_at}

    return routes


def described(match: Match) -> dict[str, Any]:
    """What a text met, for the page."""
    rule = match.rule
    shown = {"id": rule.id, "action": rule.action, "category": rule.category, "layer": rule.layer}
    return {"rule": shown, "form": match.view, "text": match.text}


def _people(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/people")
    async def listed(request: Request, cursor: Cursor = None, limit: Limit = 50) -> dict[str, Any]:
        principal = await house.who(request)
        page = await house.run(people.list_people, principal, cursor=cursor, limit=limit)
        used = await house.run(budgets.used_today, principal, [one.id for one in page.data])
        return {
            "data": [one.model_dump() | {"used_today": used[one.id]} for one in page.data],
            "next": page.next,
        }

    @routes.patch("/people/{person_id}", **takes(ChangedPerson))
    async def change(request: Request, person_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, ChangedPerson, limits)
        return (await house.run(people.change_person, principal, person_id, body.fields())).model_dump()

    @routes.get("/invitations")
    async def invitations(request: Request) -> dict[str, Any]:
        found = await house.run(registration.list_invitations, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/invitations", **takes(NewInvitation))
    async def invite(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewInvitation, limits)
        made, secret = await house.run(registration.invite, principal, **body.fields())
        return Json({**made.model_dump(), "secret": secret}, 201)

    @routes.delete("/invitations/{invitation_id}")
    async def withdraw(request: Request, invitation_id: str) -> Response:
        await house.run(registration.revoke_invitation, await house.who(request), invitation_id)
        return Json({"revoked": True})

    @routes.get("/keys")
    async def every_key(request: Request) -> dict[str, Any]:
        found = await house.run(keys.list_keys, await house.who(request), everyone=True)
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.delete("/keys/{key_id}")
    async def revoke(request: Request, key_id: str) -> Response:
        await house.run(keys.revoke_key, await house.who(request), key_id)
        return Json({"revoked": True})


def _rules(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/rules")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(rules.list_rules, await house.who(request))
        return {"data": with_builtin(found), "next": None}

    @routes.post("/rules", **takes(AnyFields))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, AnyFields, limits)
        return Json(
            (await house.run(rules.create_rule, principal, body.fields(), check=usable)).model_dump(), 201
        )

    @routes.post("/rules/try", **takes(TryText))
    async def explain(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, TryText, limits)
        await house.run(rules.list_rules, principal)  # the right to see them
        met = await anyio.to_thread.run_sync(house.guard.explain, body.text)
        return {"data": [described(match) for match in met], "next": None}

    @routes.patch("/rules/{rule_id}", **takes(AnyFields))
    async def change(request: Request, rule_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, AnyFields, limits)
        if rule_id in builtin_ids():
            return await house.run(switch_builtin, principal, rule_id, body.fields())
        return (
            await house.run(rules.change_rule, principal, rule_id, body.fields(), check=usable)
        ).model_dump()

    @routes.delete("/rules/{rule_id}")
    async def delete(request: Request, rule_id: str) -> Response:
        await house.run(rules.delete_rule, await house.who(request), rule_id)
        return Json({"deleted": True})

    @routes.get("/held")
    async def waiting(request: Request, cursor: Cursor = None, limit: Limit = 100) -> dict[str, Any]:
        principal = await house.who(request)
        return (await house.run(held.list_held, principal, cursor=cursor, limit=limit)).model_dump()

    @routes.post("/held/{held_id}", **takes(Decision))
    async def decide(request: Request, held_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Decision, limits)
        return (await house.run(decide_held, principal, held_id, body.decision)).model_dump()
