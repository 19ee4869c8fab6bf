"""Stored responses (`store: true`): in memory, limited in number and bytes, lost when the server ends.

Each response belongs to the key that made it; for every other key it does not exist. A response keeps its own input and
output and the id of the one before it, so deleted text is stored nowhere else, and a conversation cannot continue past
a deleted response. When the limits are reached, the owner of the most bytes loses the least recently used response; one
that is still being written stays.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError
from ziggurat.service.http.wire import encode


class Stored(Protocol):
    """A response, finished or not. `final` is its JSON once it has ended."""

    @property
    def id(self) -> str: ...
    @property
    def final(self) -> dict[str, Any] | None: ...
    @property
    def previous(self) -> str | None: ...
    def as_json(self) -> dict[str, Any]: ...
    def cancel(self) -> None:
        """End a response that is being written; nothing happens to one that has ended."""


class Writing(Stored, Protocol):
    """A response that is being written. It calls `on_end` once, when `final` is set."""

    on_end: Callable[[], None] | None

    async def write(self) -> None:
        """Write it to its end, without a client; an error ends it too."""


@dataclass(frozen=True)
class Ended:
    """What remains of a finished response: no model, no tokens."""

    id: str
    final: dict[str, Any]
    previous: str | None

    def as_json(self) -> dict[str, Any]:
        return self.final

    def cancel(self) -> None:
        pass


@dataclass
class Kept:
    """One response, its request, and its owner."""

    owner: str
    reply: Stored
    input: list[dict[str, Any]]
    bytes: int = 0  # 0 while it is being written


class ResponseStore:
    """All stored responses, the least recently used first. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: dict[str, Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, owner: str, reply: Writing, items: list[dict[str, Any]]) -> None:
        kept = self._kept[reply.id] = Kept(owner, reply, items)

        def ended() -> None:
            kept.reply = Ended(reply.id, reply.as_json(), reply.previous)
            kept.bytes = len(encode(items)) + len(encode(kept.reply.as_json()))
            self._make_room()

        reply.on_end = ended

    def get(self, owner: str, id: str, *, param: str = "response_id") -> Kept:
        """
        Raises:
            ApiError: 404; the same for a response that never existed, was removed, or belongs to another key.
        """
        kept = self._kept.get(id)
        if kept is None or kept.owner != owner:
            message = f'There is no response "{id[:100]}" here; only responses with store: true are kept, for a while.'
            raise ApiError(404, message, param=param)
        self._kept[id] = self._kept.pop(id)  # now the most recently used
        return kept

    def conversation(self, owner: str, id: str | None) -> list[dict[str, Any]]:
        """All items up to and including this response, the oldest first.

        Raises:
            ApiError: 404 if one of the responses is gone, 400 if one is still being written or there are too many.
        """
        turns: list[list[dict[str, Any]]] = []
        while id is not None:
            kept = self.get(owner, id, param="previous_response_id")
            if kept.reply.final is None:
                message = f"{id} is still being written; wait until it has ended."
                raise ApiError(400, message, param="previous_response_id")
            turns.append([*kept.input, *kept.reply.final["output"]])
            if len(turns) > self.limits.max_messages:
                message = (
                    f"This conversation has more than {self.limits.max_messages} responses; begin a new one."
                )
                raise ApiError(400, message, param="previous_response_id")
            id = kept.reply.previous
        return [item for turn in reversed(turns) for item in turn]

    def forget(self, id: str) -> None:
        self._kept.pop(id, None)

    def write(self, reply: Writing) -> None:
        """Write a response in the background."""
        task = asyncio.create_task(reply.write())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End the background responses: they would be lost with the process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make_room(self) -> None:
        while True:
            ended = [kept for kept in self._kept.values() if kept.bytes]
            held = Counter[str]()
            for kept in ended:
                held[kept.owner] += kept.bytes
            if len(ended) <= self.limits.max_stored and held.total() <= self.limits.max_stored_bytes:
                return
            (most, _), *_ = held.most_common(1)
            self.forget(next(kept for kept in ended if kept.owner == most).reply.id)
