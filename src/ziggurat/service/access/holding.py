"""Answers of the API that a rule holds: they go to the list on which a person decides, and their callers do not wait.

A caller of the API gets the guard's text at once and nothing more later. What is kept is what a person needs to judge
the rule: what was asked, what the model had written when the rule acted, and which key asked for it. Without a store
nothing is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.from_thread
from fastapi import Request

from ziggurat.service.access.caller import caller
from ziggurat.service.observe.visits import visit_of

if TYPE_CHECKING:
    from ziggurat.safety.guard import Decision

log = logging.getLogger("ziggurat.service")

Hold = Callable[["Decision | None", str], None]
"""Takes the decision about a request or an answer, and what the model had written; only what is held is kept."""


@dataclass(frozen=True, kw_only=True)
class ToHold:
    """An answer of the API on its way to the list."""

    prompt: str
    text: str
    """Empty where the rule held the request: then no model was asked."""
    rule_id: str | None
    stage: str
    person_id: str | None
    """Whose key of the store asked; None for a key of a file and without keys."""
    of_this_machine: bool
    """Whether it was asked without a key, from this machine."""
    origin: dict[str, str | None]


class Holding:
    """Where held answers go. `keep` stores one; it is set by whoever has a store."""

    def __init__(self) -> None:
        self.keep: Callable[[ToHold], Awaitable[None]] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def of(self, request: Request, model: str) -> Hold:
        """What keeps the held answers of one request; any thread may call it."""
        asking = caller(request)
        quota, visit = asking.quota, visit_of(request.scope)

        def hold(decision: Decision | None, written: str) -> None:
            if self.keep is None or decision is None or decision.action != "hold":
                return
            self._begin(
                ToHold(
                    prompt=decision.question,
                    text=written,
                    rule_id=decision.rule_id,
                    stage=decision.stage,
                    person_id=None if quota is None else quota.person_id,
                    of_this_machine=quota is None and asking.id == "",
                    origin={
                        "path": request.url.path,
                        "model": model,
                        "key": None if quota is None else quota.key.name,
                        "key_id": None if quota is None else quota.key_id,
                        "request_id": visit.request_id,
                    },
                )
            )

        return hold

    def _begin(self, one: ToHold) -> None:
        """Store it in a task of its own."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # a worker thread reads this answer
            anyio.from_thread.run_sync(self._begin, one)
            return
        task = asyncio.create_task(self._kept(one))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _kept(self, one: ToHold) -> None:
        assert self.keep is not None
        try:
            await self.keep(one)
        except Exception:
            log.exception("an answer that rule %s holds could not be kept", one.rule_id)

    async def close(self) -> None:
        """Wait until all are stored."""
        while self._tasks:
            await asyncio.gather(*self._tasks)
