"""All routes of the product."""

from __future__ import annotations

import asyncio
import logging

import anyio.to_thread
from fastapi import Depends, FastAPI

from ziggurat.product import generations
from ziggurat.service.access.key_check import OPEN
from ziggurat.service.api.chat import chat_routes
from ziggurat.service.http.openapi import errors
from ziggurat.service.product.admin import product_admin_routes
from ziggurat.service.product.chats import conversation_routes
from ziggurat.service.product.climbs import climb_routes
from ziggurat.service.product.house import House
from ziggurat.service.product.judging import judging_routes
from ziggurat.service.product.page import add_page, is_page
from ziggurat.service.product.people import people_routes
from ziggurat.service.product.store_rules import LOOK_S, StoreRules
from ziggurat.service.product.things import archive_routes, folder_routes, persona_routes, share_routes
from ziggurat.service.product.turns import turn_routes
from ziggurat.service.product.why import why_routes

log = logging.getLogger("ziggurat.service")

EACH = (
    *(people_routes, conversation_routes, turn_routes, judging_routes, why_routes),
    *(folder_routes, persona_routes, share_routes, archive_routes, climb_routes, product_admin_routes),
)


REAP_EVERY_S = 30.0
SILENT_S = 90.0
"""A running answer without a sign of life for so long has lost its process."""


def add_product(app: FastAPI, house: House) -> None:
    """The product's routes and its page. Every route below `/api` passes the gate."""
    gate = [Depends(house.gate)]
    for each in EACH:
        app.include_router(each(house), dependencies=gate, responses=errors())
    app.include_router(chat_routes(house.services), dependencies=gate, responses=errors())
    add_page(app)


def open_with_product(path: str) -> bool:
    """What needs no API key: the page, and `/api`, whose routes ask for a login themselves."""
    return path in OPEN or path.startswith("/api/") or is_page(path)


async def keep_rules(rules: StoreRules) -> None:
    """Read the guard's rules again whenever an administrator changes them, in whatever process."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            await anyio.to_thread.run_sync(rules.refresh)
        except Exception:
            log.exception("the guard's rules could not be read; the last ones stay in use")


async def keep_house(house: House) -> None:
    """The duties of a running product: answers whose process died are marked at once and then regularly."""
    await house.run(generations.reap, older_than_s=SILENT_S)
    while True:
        await asyncio.sleep(REAP_EVERY_S)
        try:
            for running in house.generations.running():
                await house.run(generations.heartbeat, running.id)
            await house.run(generations.reap, older_than_s=SILENT_S)
        except Exception:
            log.exception("the product's regular duties failed; they are tried again")
