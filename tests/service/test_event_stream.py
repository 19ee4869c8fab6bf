"""Events of a source that is silent, and of one whose reader leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from ziggurat.service.http.event_stream import with_silences


class Source:
    """Gives `items`, each once `go` is set; remembers that it was ended."""

    def __init__(self, *items: str) -> None:
        self.items, self.go, self.ended = items, asyncio.Event(), asyncio.Event()

    async def given(self) -> AsyncGenerator[str]:
        try:
            for item in self.items:
                await self.go.wait()
                yield item
        finally:
            self.ended.set()


def test_each_silence_is_told_and_every_item_comes() -> None:
    async def read() -> list[str | None]:
        source, found = Source("a", "b"), list[str | None]()
        async for item in with_silences(source.given(), 0.02):
            found.append(item)
            if found == [None, None]:
                source.go.set()
        assert source.ended.is_set()
        return found

    assert asyncio.run(read()) == [None, None, "a", "b"]


def test_a_reader_that_leaves_in_a_silence_ends_the_source() -> None:
    """Closing a generator that waits for its next item is an error of Python: it has to be cancelled there."""

    async def leave() -> None:
        source = Source("a")

        async def read() -> None:
            async with contextlib.aclosing(with_silences(source.given(), 60.0)) as items:
                async for _ in items:
                    pass

        reading = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.wait({reading})
        assert reading.cancelled()
        await asyncio.wait_for(source.ended.wait(), 5)

    asyncio.run(leave())


def test_a_reader_that_has_enough_ends_the_source() -> None:
    async def leave() -> None:
        source = Source("a", "b")
        source.go.set()
        async with contextlib.aclosing(with_silences(source.given(), 60.0)) as items:
            assert await anext(items) == "a"
        assert source.ended.is_set()

    asyncio.run(leave())
