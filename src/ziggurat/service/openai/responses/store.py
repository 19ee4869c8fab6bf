"""Responses that were asked to be kept (`store: true`): in memory, bounded in number and bytes, gone with the server.

Each belongs to the key that made it; for every other key it is not there. A response keeps its own input and output and
the id of the one before it, so what is deleted is nowhere else, and a conversation cannot go on past it. When there is
no room, whoever keeps the most bytes loses what was not used for longest; what is still being written stays.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from ziggurat.service.http.limits import Limits
from ziggurat.service.http.problems import ApiError, describe
from ziggurat.service.openai.responses.reply import Reply


@dataclass(frozen=True)
class Ended:
    """What is left of a reply: no model, no tokens."""

    id: str
    final: dict[str, Any]
    previous: str | None

    def as_json(self) -> dict[str, Any]:
        return self.final


@dataclass
class Kept:
    """One response, what was asked, and whose it is."""

    owner: str
    reply: Reply | Ended
    input: list[dict[str, Any]]
    bytes: int = 0  # 0 while it is being written

    def measure(self) -> None:
        held = (self.input, self.reply.as_json())
        self.bytes = sum(len(json.dumps(part, ensure_ascii=False).encode(errors="replace")) for part in held)


class ResponseStore:
    """What is kept, the longest unused first. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._kept: dict[str, Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def keep(self, owner: str, reply: Reply, items: list[dict[str, Any]]) -> None:
        kept = self._kept[reply.id] = Kept(owner, reply, items)

        def ended() -> None:
            kept.reply = Ended(reply.id, reply.as_json(), reply.body.previous_response_id)
            kept.measure()
            self._make_room()

        reply.on_end = ended

    def get(self, owner: str, id: str, *, param: str = "response_id") -> Kept:
        """404 for one that is not there, was evicted, or is another key's: nobody can tell which."""
        kept = self._kept.get(id)
        if kept is None or kept.owner != owner:
            message = f'There is no response "{id[:100]}" here; those asked for with store: true are kept, for a while.'
            raise ApiError(404, message, param=param)
        self._kept[id] = self._kept.pop(id)  # used last
        return kept

    def conversation(self, owner: str, id: str | None) -> list[dict[str, Any]]:
        """All items up to and including this response, the oldest first."""
        turns: list[list[dict[str, Any]]] = []
        while id is not None:
            kept = self.get(owner, id, param="previous_response_id")
            if kept.reply.final is None:
                message = f"{id} is still being written; wait until it has ended."
                raise ApiError(400, message, param="previous_response_id")
            turns.append([*kept.input, *kept.reply.final["output"]])
            if len(turns) > self.limits.max_messages:
                message = (
                    f"this conversation has more than {self.limits.max_messages} responses; begin a new one."
                )
                raise ApiError(400, message, param="previous_response_id")
            id = kept.reply.previous
        return [item for turn in reversed(turns) for item in turn]

    def forget(self, id: str) -> None:
        self._kept.pop(id, None)

    def cancel(self, reply: Reply | Ended) -> None:
        """End a response that is being written; nothing happens to one that has ended."""
        if isinstance(reply, Reply) and reply.final is None:
            reply.end(cancelled=True)
            reply.ticket.cancel()
            reply.ticket.arrive(None)  # whoever waits for its next words waits no more

    def write(self, reply: Reply) -> None:
        """Let a response be written with nobody waiting for it."""
        task = asyncio.create_task(_write(reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is written in the background: nobody could come back for it."""
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


async def _write(reply: Reply) -> None:
    try:
        while (delta := await reply.ticket.next()) is not None:
            reply.tally.add(delta)
        reply.end()
    except Exception as error:
        _, told = describe(error)
        reply.end({"code": "server_error", "message": told["error"]["message"]})
    finally:
        reply.ticket.cancel()
