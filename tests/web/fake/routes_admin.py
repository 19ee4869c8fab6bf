"""The administration."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from tests.web.fake.basics import page_of, stamp
from tests.web.fake.house import MODELS


def admin_routes(app: FastAPI, house: Any) -> None:
    @app.get("/api/admin/people")
    async def people(cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
        return page_of(list(house.admin.people.values()), cursor, limit)

    @app.patch("/api/admin/people/{pid}")
    async def change_person(pid: str, request: Request) -> dict[str, Any]:
        house.admin.changes.append(await request.json())
        house.admin.people[pid] |= house.admin.changes[-1]
        return {name: value for name, value in house.admin.people[pid].items() if name != "used_today"}

    @app.get("/api/admin/invitations")
    async def invitations() -> dict[str, Any]:
        return {"data": list(house.admin.invitations.values()), "next": None}

    @app.post("/api/admin/invitations")
    async def invite(request: Request) -> dict[str, Any]:
        made = await request.json() | {"id": house.ids.new("invitation"), "created_at": stamp()}
        house.admin.invitations[made["id"]] = made
        return made | {"secret": "invite-once"}

    @app.delete("/api/admin/invitations/{iid}")
    async def drop_invitation(iid: str) -> Response:
        house.admin.invitations.pop(iid, None)
        return Response(status_code=204)

    @app.get("/api/admin/keys")
    async def keys() -> dict[str, Any]:
        return {"data": [key | {"owner": "Ada"} for key in house.keys.values()], "next": None}

    @app.get("/api/admin/models")
    async def models() -> dict[str, Any]:
        return {
            "data": [m | {"state": "loaded", "memory_bytes": 270_000_000, "requests": 12} for m in MODELS],
            "next": None,
        }

    @app.get("/api/admin/generations")
    async def generations() -> dict[str, Any]:
        running = [
            {"id": g.id, "chat_id": g.chat, "person": "Ada", "model": g.message["model"], "state": g.message["state"],
             "started_at": g.message["created_at"], "tokens": len(g.events)}
            for g in house.generations.values() if not g.over
        ]  # fmt: skip
        return {"data": running, "next": None}

    @app.post("/api/admin/generations/{gid}/cancel")
    async def cancel(gid: str) -> Response:
        generation = house.generations[gid]
        house.stop(generation, len(generation.message["content"]))
        return Response(status_code=204)

    @app.get("/api/admin/settings")
    async def settings() -> dict[str, Any]:
        return house.admin.settings

    @app.put("/api/admin/settings")
    async def change_settings(request: Request) -> dict[str, Any]:
        body = await request.json()
        house.admin.changes.append(body)
        plans = house.admin.settings["plans"] | body.get("plans", {})
        house.admin.settings |= body | {"plans": {name: plan for name, plan in plans.items() if plan}}
        return house.admin.settings

    @app.get("/api/admin/rules")
    async def rules() -> dict[str, Any]:
        return {"data": list(house.admin.rules.values()), "next": None}

    @app.post("/api/admin/rules")
    async def new_rule(request: Request) -> dict[str, Any]:
        rule = {"enabled": True} | await request.json() | {"id": house.ids.new("rule")}
        house.admin.rules[rule["id"]] = rule
        return rule

    @app.patch("/api/admin/rules/{rid}")
    async def change_rule(rid: str, request: Request) -> dict[str, Any]:
        house.admin.rules[rid] |= await request.json()
        return house.admin.rules[rid]

    @app.delete("/api/admin/rules/{rid}")
    async def drop_rule(rid: str) -> Response:
        del house.admin.rules[rid]
        return Response(status_code=204)

    @app.post("/api/admin/rules/try")
    async def try_rule(request: Request) -> dict[str, Any]:
        text = (await request.json())["text"]
        met = [
            r for r in house.admin.rules.values() if r.get("pattern") and r["pattern"].lower() in text.lower()
        ]
        return {"data": [{"rule": rule} for rule in met], "next": None}

    @app.get("/api/admin/held")
    async def held(cursor: str | None = None, limit: int = 50) -> dict[str, Any]:
        return page_of(list(house.admin.held.values()), cursor, limit)

    @app.post("/api/admin/held/{hid}")
    async def decide(hid: str, request: Request) -> dict[str, Any]:
        house.admin.changes.append(await request.json())
        return house.decide(hid, house.admin.changes[-1]["decision"])

    @app.get("/api/admin/audit")
    async def audit(cursor: str | None = None, limit: int = 100, verify: bool = False) -> dict[str, Any]:
        """A change of an old entry is found where the whole chain is read; one of a new entry, by any page."""
        house.admin.verified.append(verify)
        if verify:
            house.admin.verified_at = stamp()
        broken = (house.admin.broken if verify else None) or house.admin.broken_lately
        return page_of(house.admin.audit, cursor, limit) | {
            "broken": broken,
            "verified_at": house.admin.verified_at,
        }
