"""Work that stops when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from ziggurat.service.http.problems import ApiError

R = TypeVar("R")


async def disconnected(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def while_connected(request: Request, work: Coroutine[Any, Any, R]) -> R:
    """What `work` returns.

    Raises:
        ApiError: 499 if the client disconnects first; `work` is cancelled and has ended then.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise client_left()
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.wait({working})


def client_left() -> ApiError:
    return ApiError(499, "The client disconnected before its answer began.")
