"""Liveness, readiness and version, for load balancers and operators.

These three need no key, so they contain nothing else. `/admin/health` has the state of each model, for admins.
"""

from __future__ import annotations

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from ziggurat.service.access.caller import must_be_admin
from ziggurat.service.http.problems import ApiError, response_for
from ziggurat.service.http.wire import Json
from ziggurat.service.services import Services
from ziggurat.version import __version__


def health_routes(services: Services) -> APIRouter:
    routes = APIRouter()
    shelf, moderator = services.shelf, services.moderator

    def alive(**detail: Any) -> Response:
        failed = any(served.worker.failure is not None for served in shelf.all())
        return Json({"status": "failed" if failed else "ok", **detail}, 503 if failed else 200)

    @routes.get("/health")
    async def health() -> Response:
        """200 while every model works, 503 once one has failed."""
        return alive()

    @routes.get("/admin/health")
    async def detail(request: Request) -> Response:
        """The same, for each model and each moderation layer; for admins."""
        must_be_admin(request)
        models = {
            served.card.name: {
                "running": served.worker.running,
                "waiting": served.worker.waiting,
                "failed": served.worker.failure is not None,
            }
            for served in shelf.all()
        }
        moderation = await anyio.to_thread.run_sync(moderator.status) if moderator.layers else {}
        return alive(version=__version__, models=models, moderation=moderation)

    @routes.get("/ready")
    async def ready() -> Response:
        """200 while new requests are taken; 503 during shutdown or once a model has failed."""
        if shelf.draining or any(served.worker.failure is not None for served in shelf.all()):
            reason = "The server is shutting down." if shelf.draining else "A model has failed."
            return response_for(ApiError(503, reason))
        return Json({"status": "ready"})

    @routes.get("/version")
    async def version() -> dict[str, str]:
        return {"version": __version__}

    return routes
