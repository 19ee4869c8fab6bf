"""`/api/review`: the experts' inbox, card, decisions, policies, figures; and the customer's side below `/api/chats`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.http.wire import Json
from ziggurat.service.product.bodies import AnyFields, Empty
from ziggurat.service.product.house import House
from ziggurat.service.product.review.bodies import (
    Complaint,
    Decision,
    Looking,
    NewMode,
    NewNote,
    NewView,
    Second,
    UseTemplate,
    Webhook,
)
from ziggurat.service.product.review.calls import lang_of
from ziggurat.service.product.review.duties import write_again
from ziggurat.workbench.review import (
    autonomy,
    card,
    claims,
    customer,
    deciding,
    inbox,
    metrics,
    notes,
    policies,
    seconds,
    webhooks,
)

Cursor = Annotated[str | None, Query(max_length=300)]
Limit = Annotated[int, Query(ge=1, le=200)]
Word = Annotated[str | None, Query(max_length=200)]


def review_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/review", tags=["review"])
    _inbox(house, routes)
    _card(house, routes)
    _policies(house, routes)
    _seconds(house, routes)
    limits = house.services.limits

    @routes.get("/metrics")
    async def figures(
        request: Request, days: Annotated[int, Query(ge=1, le=3650)] = 30, by: str = "topic"
    ) -> dict[str, Any]:
        return await house.run(metrics.metrics, await house.who(request), days=days, by=by)

    @routes.get("/webhook")
    async def webhook(request: Request) -> dict[str, Any]:
        return {"url": await house.run(webhooks.get_webhook, await house.who(request))}

    @routes.put("/webhook", **takes(Webhook))
    async def set_webhook(request: Request) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Webhook, limits)
        secret = await house.run(webhooks.set_webhook, principal, body.url)
        return {"url": body.url, "secret": secret}

    return routes


def _inbox(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/items")
    async def listed(
        request: Request,
        show: Word = None,
        topic: Word = None,
        lang: Word = None,
        customer: Word = None,
        model: Word = None,
        risk: Word = None,
        age: Word = None,
        state: Word = None,
        channel: Word = None,
        query: Word = None,
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> dict[str, Any]:
        given = {
            "show": show,
            "topic": topic,
            "lang": lang,
            "customer": customer,
            "model": model,
            "risk": risk,
            "age": age,
            "state": state,
            "channel": channel,
            "query": query,
        }
        filters = {name: value for name, value in given.items() if value}
        principal = await house.who(request)
        page = await house.run(inbox.inbox, principal, filters, cursor=cursor, limit=limit)
        return page.model_dump()

    @routes.get("/counts")
    async def counts(request: Request) -> dict[str, Any]:
        return await house.run(inbox.counts, await house.who(request))

    @routes.get("/people")
    async def people(request: Request) -> dict[str, Any]:
        found = await house.run(inbox.reviewers, await house.who(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.get("/views")
    async def views(request: Request) -> dict[str, Any]:
        return {"data": await house.run(inbox.list_views, await house.who(request)), "next": None}

    @routes.post("/views", **takes(NewView))
    async def save(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, NewView, limits)
        return Json(await house.run(inbox.save_view, principal, body.name, body.filters), 201)

    @routes.delete("/views/{view_id}")
    async def delete(request: Request, view_id: str) -> Response:
        await house.run(inbox.delete_view, await house.who(request), view_id)
        return Json({"deleted": True})


def _card(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/items/{item_id}")
    async def shown(request: Request, item_id: str) -> dict[str, Any]:
        return (await house.run(card.card, await house.who(request), item_id)).model_dump()

    def act(name: str, rule: Callable[..., None]) -> None:
        @routes.post(f"/items/{{item_id}}/{name}", name=f"review_{name}", **takes(Empty))
        async def done(request: Request, item_id: str) -> dict[str, Any]:
            principal, _ = await house.who(request), await read_body(request, Empty, limits)
            await house.run(rule, principal, item_id)
            return (await house.run(card.card, principal, item_id)).model_dump()

    for name, rule in (
        ("claim", claims.claim),
        ("release", claims.release),
        ("take", claims.take_over),
        ("reopen", claims.reopen),
    ):
        act(name, rule)

    @routes.post("/items/{item_id}/look", **takes(Looking))
    async def look(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Looking, limits)
        return {"here": await house.run(claims.look, principal, item_id, active=body.active)}

    @routes.post("/items/{item_id}/decision", **takes(Decision))
    async def decide(request: Request, item_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, Decision, limits)
        made = await house.run(deciding.decide, principal, item_id, deciding.Choice(**body.model_dump()))
        if made.regenerate:
            await write_again(house, principal, item_id, body.instruction)
        return {"id": made.decision_id, "state": "drafting" if made.regenerate else made.state}

    @routes.post("/items/{item_id}/regenerate", **takes(Empty))
    async def again(request: Request, item_id: str) -> dict[str, Any]:
        principal, _ = await house.who(request), await read_body(request, Empty, limits)
        await write_again(house, principal, item_id, None)
        return {"state": "drafting"}

    @routes.post("/items/{item_id}/notes", **takes(NewNote))
    async def note(request: Request, item_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, NewNote, limits)
        made = await house.run(notes.add_note, principal, item_id, body.text, body.mentions)
        return Json({"id": made}, 201)


def _policies(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/policies")
    async def listed(request: Request) -> dict[str, Any]:
        found = await house.run(policies.list_policies, await house.who(request))
        return {
            "data": [one.model_dump() for one in found],
            "next": None,
            "templates": [
                {"name": name, "label": one["label"]} for name, one in policies.templates().items()
            ],
            "default": policies.DEFAULT.model_dump(),
        }

    @routes.post("/policies", **takes(AnyFields))
    async def create(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, AnyFields, limits)
        return Json((await house.run(policies.create_policy, principal, body.fields())).model_dump(), 201)

    @routes.patch("/policies/{policy_id}", **takes(AnyFields))
    async def change(request: Request, policy_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, AnyFields, limits)
        changed = await house.run(policies.change_policy, principal, policy_id, body.fields())
        return changed.model_dump()

    @routes.post("/policies/from_template", **takes(UseTemplate))
    async def use(request: Request) -> Response:
        principal, body = await house.who(request), await read_body(request, UseTemplate, limits)
        made = await house.run(policies.use_template, principal, body.name)
        return Json({"data": [one.model_dump() for one in made], "next": None}, 201)

    @routes.get("/policies/{policy_id}/autonomy")
    async def evidence(request: Request, policy_id: str) -> dict[str, Any]:
        return await house.run(autonomy.evidence, await house.who(request), policy_id)

    @routes.post("/policies/{policy_id}/autonomy", **takes(NewMode))
    async def change_mode(request: Request, policy_id: str) -> dict[str, Any]:
        principal, body = await house.who(request), await read_body(request, NewMode, limits)
        return (await house.run(autonomy.change_mode, principal, policy_id, body.mode)).model_dump()

    @routes.post("/stop", **takes(Empty))
    async def stop(request: Request) -> dict[str, Any]:
        principal, _ = await house.who(request), await read_body(request, Empty, limits)
        return {"changed": await house.run(autonomy.stop_all, principal)}


def _seconds(house: House, routes: APIRouter) -> None:
    limits = house.services.limits

    @routes.get("/seconds/next")
    async def following(request: Request) -> dict[str, Any]:
        return {"second": await house.run(seconds.next_second, await house.who(request))}

    @routes.post("/seconds/{second_id}", **takes(Second))
    async def decide(request: Request, second_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Second, limits)
        await house.run(
            seconds.decide_second,
            principal,
            second_id,
            decision=body.decision,
            reasons=body.reasons,
            text=body.text,
        )
        return Json({"decided": True})


def customer_routes(house: House) -> APIRouter:
    routes = APIRouter(prefix="/api/chats/{chat_id}/reviews", tags=["review"])
    limits = house.services.limits

    @routes.get("")
    async def statuses(request: Request, chat_id: str) -> dict[str, Any]:
        principal = await house.who(request)
        found = await house.run(customer.statuses, principal, chat_id, lang=lang_of(request))
        return {"data": [one.model_dump() for one in found], "next": None}

    @routes.post("/{message_id}/cancel", **takes(Empty))
    async def cancel(request: Request, chat_id: str, message_id: str) -> Response:
        principal, _ = await house.who(request), await read_body(request, Empty, limits)
        await house.run(customer.cancel, principal, chat_id, message_id)
        return Json({"cancelled": True})

    @routes.post("/{message_id}/complaint", **takes(Complaint))
    async def complain(request: Request, chat_id: str, message_id: str) -> Response:
        principal, body = await house.who(request), await read_body(request, Complaint, limits)
        await house.run(customer.complain, principal, chat_id, message_id, body.text)
        return Json({"reopened": True}, 201)

    return routes
