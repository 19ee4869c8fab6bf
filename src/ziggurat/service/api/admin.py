"""`POST /admin/models/{name}/reload`: a served name begins to stand for another run, and no stream is dropped.

    {}                       what was named at the start, looked up anew: town/ppo is its latest run by now, a link may
                             point elsewhere, a folder may have been written again
    {"run": "town/ppo-3"}    that run

The new weights are loaded beside the old ones, so there must be room for both. Requests that hold the old model are
answered by it and share no cached prompts with the new one; with the last of them it is let go. If the new one cannot
be loaded, nothing changes. Only for admins (`gate.must_be_admin`).
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ziggurat.console import err
from ziggurat.service.access.gate import must_be_admin
from ziggurat.service.http.openapi import takes
from ziggurat.service.models.library import Library
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.openai.bodies import read_body


class ReloadBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    run: Annotated[str, Field(min_length=1, max_length=200)] | None = None


def admin_routes(shelf: Shelf, library: Library) -> APIRouter:
    routes = APIRouter(prefix="/admin")
    one_at_a_time = asyncio.Lock()

    @routes.post("/models/{name:path}/reload", **takes(ReloadBody))
    async def reload(request: Request, name: str) -> dict[str, Any]:
        must_be_admin(request)
        body = await read_body(request, ReloadBody, shelf.limits)
        async with one_at_a_time:
            before, t0 = shelf.find(name), time.perf_counter()
            card, model = await anyio.to_thread.run_sync(lambda: library.again(name, body.run))
            shelf.swap(card, model)
            after = shelf.find(name)
        err.print(f"{name} stands for {card.run} now ({after.fingerprint}), before for {before.card.run}.")
        return {
            "id": name,
            "run": card.run,
            "system_fingerprint": after.fingerprint,
            "previous_run": before.card.run,
            "previous_system_fingerprint": before.fingerprint,
            "loaded_in_s": round(time.perf_counter() - t0, 3),
        }

    return routes
