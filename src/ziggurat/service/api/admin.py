"""Models of a running server, for admins: `POST /admin/models` adds one, `POST /admin/models/{name}/reload` replaces,
`DELETE /admin/models/{name}` takes one away, `GET /admin/models` lists them.

    {"run": "base@my/sft-2"}           add this adapter over a base that is in memory already, or any other run
    {"run": "chat=my/ppo-3"}           add it under a name of its own

and to reload

    {}                       the run that was given at the start, looked up again: my/ppo is its latest run now
    {"run": "my/ppo-3"}      this run

The new model is loaded beside the old one, so memory must hold both. Requests that hold the old model are answered by
it and share no cached prompts with the new one; it is dropped with the last of them. If the new model cannot be loaded,
nothing changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ziggurat.console import err
from ziggurat.service.access.caller import must_be_admin
from ziggurat.service.http.body import read_body
from ziggurat.service.http.openapi import takes
from ziggurat.service.models.library import Library
from ziggurat.service.services import Services


class ReloadBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class AddBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: Annotated[str, Field(min_length=1, max_length=400)]


MustBeAdmin = Callable[[Request], Awaitable[None]]


async def _by_key(request: Request) -> None:
    must_be_admin(request)


def admin_routes(
    services: Services, library: Library, *, prefix: str = "/admin", allow: MustBeAdmin = _by_key
) -> APIRouter:
    """`allow` refuses whoever is no admin; the product's page asks by its own rules, under a prefix of its own."""
    routes, shelf = APIRouter(prefix=prefix), services.shelf
    one_at_a_time = asyncio.Lock()

    @routes.get("/models")
    async def listed(request: Request) -> dict[str, Any]:
        await allow(request)
        stats = shelf.stats()
        return {
            "data": [
                {
                    **held.card.model_dump(),
                    "kind": held.kind,
                    "system_fingerprint": held.fingerprint,
                    "running": int(stats[held.worker.name]["running"]),
                    "waiting": int(stats[held.worker.name]["waiting"]),
                    "failed": held.worker.failure is not None,
                }
                for held in shelf.all()
            ],
            "next": None,
        }

    @routes.delete("/models/{name:path}")
    async def retire(request: Request, name: str) -> dict[str, Any]:
        await allow(request)
        shelf.retire(name)
        err.print(f"{name} is not served any more.")
        return {"id": name, "retired": True}

    @routes.post("/models", **takes(AddBody))
    async def add(request: Request) -> dict[str, Any]:
        await allow(request)
        body = await read_body(request, AddBody, services.limits)
        async with one_at_a_time:
            t0 = time.perf_counter()
            card, model = await anyio.to_thread.run_sync(lambda: library.more(body.run))
            shelf.add(card, model)
            added = shelf.find(card.name)
        err.print(f"{card.name} is served now ({added.fingerprint}).")
        return {
            "id": card.name,
            "run": card.run,
            "system_fingerprint": added.fingerprint,
            "loaded_in_s": round(time.perf_counter() - t0, 3),
        }

    @routes.post("/models/{name:path}/reload", **takes(ReloadBody))
    async def reload(request: Request, name: str) -> dict[str, Any]:
        await allow(request)
        body = await read_body(request, ReloadBody, services.limits)
        async with one_at_a_time:
            before, t0 = shelf.find(name), time.perf_counter()
            card, model = await anyio.to_thread.run_sync(lambda: library.again(name, body.run))
            shelf.swap(card, model)
            after = shelf.find(name)
        err.print(f"{name} serves {card.run} now ({after.fingerprint}), before {before.card.run}.")
        return {
            "id": name,
            "run": card.run,
            "system_fingerprint": after.fingerprint,
            "previous_run": before.card.run,
            "previous_system_fingerprint": before.fingerprint,
            "loaded_in_s": round(time.perf_counter() - t0, 3),
        }

    return routes
