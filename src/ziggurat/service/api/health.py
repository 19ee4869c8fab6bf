"""Is it alive, may it be asked, which version is it: for load balancers and people with a terminal.

These three need no key, so they tell nothing else. What each model is doing is told at `/admin/health`, to admins.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from ziggurat import __version__
from ziggurat.service.access.gate import must_be_admin
from ziggurat.service.http.problems import RETRY_AFTER_S, error_body
from ziggurat.service.models.shelf import Shelf
from ziggurat.service.openai.moderation.judges import Moderator


def health_routes(shelf: Shelf, moderator: Moderator) -> APIRouter:
    routes = APIRouter()

    def alive(**detail: Any) -> JSONResponse:
        failed = any(served.worker.failure is not None for served in shelf.all())
        return JSONResponse({"status": "failed" if failed else "ok", **detail}, 503 if failed else 200)

    @routes.get("/health")
    async def health() -> JSONResponse:
        """200 while every model's thread can work, 503 once one has failed."""
        return alive()

    @routes.get("/admin/health")
    async def detail(request: Request) -> JSONResponse:
        """The same, model by model and judge by judge; for admins."""
        must_be_admin(request)
        models = {
            served.card.name: {
                "running": served.worker.running,
                "waiting": served.worker.waiting,
                "failed": served.worker.failure is not None,
            }
            for served in shelf.all()
        }
        moderation = await anyio.to_thread.run_sync(moderator.status) if moderator.judges else {}
        return alive(version=__version__, models=models, moderation=moderation)

    @routes.get("/ready")
    async def ready() -> JSONResponse:
        """200 while new requests are taken; 503 while the server drains or a model has failed."""
        if shelf.draining or any(served.worker.failure is not None for served in shelf.all()):
            reason = "The server is shutting down." if shelf.draining else "A model has failed."
            return JSONResponse(error_body(503, reason), 503, {"Retry-After": str(RETRY_AFTER_S)})
        return JSONResponse({"status": "ready"})

    @routes.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    return routes
