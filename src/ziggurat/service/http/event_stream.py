"""Server-Sent Events as an answer, and what keeps it open while its source is silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from starlette.responses import StreamingResponse

T = TypeVar("T")


class EventStream(StreamingResponse):
    """An answer of events, which no cache and no proxy holds back."""

    def __init__(self, events: AsyncIterator[bytes]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)


async def with_silences(source: AsyncGenerator[T], keepalive_s: float) -> AsyncGenerator[T | None]:
    """The items of `source`, and None after each silent `keepalive_s`. `source` ends when its reader does."""
    waiting: asyncio.Future[T | None] | None = None
    try:
        while True:
            waiting = asyncio.ensure_future(anext(source, None))
            while not (await asyncio.wait({waiting}, timeout=keepalive_s))[0]:
                yield None
            item = waiting.result()
            if item is None:
                return
            yield item
    finally:
        if waiting is not None and not waiting.done():
            waiting.cancel()  # ends the source where it waits; a generator that runs cannot be closed
        else:
            await source.aclose()
