"""Sends the webhooks' messages that are due."""

from __future__ import annotations

import asyncio
import json

import httpx

from ziggurat.service.product.house import House
from ziggurat.version import __version__
from ziggurat.workbench.labelling import hooks

LOOK_EVERY_S = 2.0
TIMEOUT_S = 10.0
AT_ONCE = 8


async def deliver(house: House) -> int:
    """All that is due now; returns how many were taken. A receiver answers with 2xx; redirects are not followed."""
    due = await house.run(hooks.due)
    if due:
        gate = asyncio.Semaphore(AT_ONCE)
        async with httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
            await asyncio.gather(*(_send(house, client, gate, one) for one in due))
    return len(due)


async def _send(house: House, client: httpx.AsyncClient, gate: asyncio.Semaphore, one: hooks.Due) -> None:
    body = json.dumps({"id": one.id, **one.payload}, ensure_ascii=False).encode()
    now = house.store.now() // 1_000_000
    headers = {
        "content-type": "application/json",
        "user-agent": f"Ziggurat/{__version__}",
        "webhook-id": one.id,
        "webhook-timestamp": str(now),
        "webhook-signature": hooks.signature(one.secret, one.id, now, body),
    }
    try:
        async with gate:
            answer = await client.post(one.url, content=body, headers=headers)
        error = None if answer.is_success else f"the receiver answered {answer.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    if error is None:
        await house.run(hooks.delivered, one.id)
    else:
        await house.run(hooks.failed, one, error)
