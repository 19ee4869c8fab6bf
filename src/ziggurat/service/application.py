"""The routes of a server as one application, its regular duties, and its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from ziggurat.service.api.admin import admin_routes
from ziggurat.service.api.chat import chat_routes
from ziggurat.service.api.health import health_routes
from ziggurat.service.api.score import score_routes
from ziggurat.service.http import problems
from ziggurat.service.http.openapi import describe_by_hand, errors
from ziggurat.service.models.memory import give_back_periodically
from ziggurat.service.observe.metrics import metrics_routes
from ziggurat.service.openai.chat_completions import chat_completion_routes
from ziggurat.service.openai.completions import completion_routes
from ziggurat.service.openai.embeddings import embedding_routes
from ziggurat.service.openai.models import model_routes
from ziggurat.service.openai.moderations import moderation_routes
from ziggurat.service.openai.responses.endpoint import response_routes
from ziggurat.service.openai.responses.kept import kept_response_routes
from ziggurat.service.product.routes import Product
from ziggurat.service.services import Services
from ziggurat.version import __version__

ROUTES = (
    *(model_routes, chat_completion_routes, completion_routes, response_routes, kept_response_routes),
    *(embedding_routes, moderation_routes, score_routes, health_routes),
)


def application(services: Services, product: Product | None) -> FastAPI:
    """All routes. Nothing checks keys or host names yet: that is middleware, which `create_app` adds."""
    # No /docs and /redoc: those pages load scripts from the network. /openapi.json stays.
    # No telemetry: FastAPI would send traces to the address in an environment variable; nothing leaves this machine.
    app = FastAPI(
        title="Ziggurat",
        version=__version__,
        lifespan=_lifespan(services, product),
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    problems.install(app)
    for routes in ROUTES:
        app.include_router(routes(services), responses=errors())
    if services.library is not None:
        app.include_router(admin_routes(services, services.library), responses=errors())
    app.include_router(metrics_routes(services.metrics), responses=errors())
    if product is not None:
        product.add_to(app)
    else:
        app.include_router(chat_routes(services), responses=errors())
    describe_by_hand(app)
    return app


def _lifespan(
    services: Services, product: Product | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The regular duties while the application runs, and its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(give_back_periodically())]
        if product is not None:
            tasks.append(asyncio.create_task(product.keep()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            async with AsyncExitStack() as ending:  # each of them, the last one first
                if product is not None:
                    ending.push_async_callback(product.close_store)
                ending.push_async_callback(services.close)
                if product is not None:
                    ending.push_async_callback(product.close)

    return lifespan
