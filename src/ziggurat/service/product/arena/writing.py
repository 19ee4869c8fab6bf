"""Both answers of a battle, written side by side; their events carry sides and never names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from ziggurat.product import battles, budgets
from ziggurat.product.battles import Battle
from ziggurat.product.principal import Principal
from ziggurat.safety.guard import Decision
from ziggurat.service.http.problems import describe
from ziggurat.service.http.wire import KEEPALIVE, event
from ziggurat.service.observe.visits import Visit
from ziggurat.service.product.answering import Ask, End, Piece
from ziggurat.service.product.house import House
from ziggurat.service.product.writing import counted, hashes_of, outgoing, watches_of

SIDES = ("a", "b")


@dataclass
class Written:
    """One side, as far as it has come."""

    ask: Ask
    texts: list[str] = field(default_factory=list)
    end: End = field(default_factory=lambda: End("stop"))

    def as_answer(self, house: House) -> dict[str, Any]:
        ask = self.ask
        return {
            "text": "".join(self.texts),
            "finish_reason": self.end.finish_reason,
            "hashes": hashes_of(house, ask.model),
            "sampling": {
                "temperature": ask.temperature,
                "top_p": ask.top_p,
                "max_tokens": ask.max_tokens,
                "seed": ask.seed,
            },
            "usage": {name: self.end.usage.get(name) for name in ("prompt_tokens", "completion_tokens")},
        }


async def streamed(
    house: House,
    principal: Principal,
    battle: Battle,
    asks: dict[str, Ask],
    asked: Decision,
    visit: Visit,
) -> AsyncIterator[bytes]:
    """The battle, the pieces of both sides, and the battle when it can be voted on. When the reader leaves, the models'
    work ends and the battle has failed."""
    queue: asyncio.Queue[tuple[str, str] | None] = asyncio.Queue()
    sides = {side: Written(ask) for side, ask in asks.items()}
    done = False
    yield event({"battle": battle.model_dump()})
    tasks = [
        asyncio.create_task(_write(house, principal, side, sides[side], asked, queue, visit))
        for side in SIDES
    ]
    both = asyncio.ensure_future(asyncio.gather(*tasks))
    both.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while True:
            try:
                item = await asyncio.wait_for(queue.get(), house.services.limits.keepalive_s)
            except TimeoutError:
                yield KEEPALIVE
                continue
            if item is None:
                break
            yield event({"side": item[0], "text": item[1]})
        await both
        answers = [sides[side].as_answer(house) for side in SIDES]
        ready = await house.run(battles.written, principal, battle.id, *answers)
        done = True
        yield event({"battle": ready.model_dump()})
    except Exception as error:
        yield event(_without_names(describe(error)[1], asks))
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await both
        await asyncio.shield(_settle(house, principal, battle, sides, done=done))


def _without_names(body: dict[str, Any], asks: dict[str, Ask]) -> dict[str, Any]:
    """An error that names a model would tell which one played; what is said names none."""
    said = str(body["error"]["message"])
    if any(ask.model in said or ask.model.partition("/")[0] in said for ask in asks.values()):
        body = {
            "error": {**body["error"], "message": "One of the models could not answer; try another battle."}
        }
    return body


async def _settle(
    house: House, principal: Principal, battle: Battle, sides: dict[str, Written], *, done: bool
) -> None:
    if not done:
        await house.run(battles.failed, principal, battle.id)
    for one in sides.values():
        usage = one.end.usage
        await house.run(
            budgets.spend,
            principal,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or len(one.texts)),
        )


async def _write(
    house: House,
    principal: Principal,
    side: str,
    written: Written,
    asked: Decision,
    queue: asyncio.Queue[tuple[str, str] | None],
    visit: Visit,
) -> None:
    """One side, through the guard's watch. Reasoning is left out: its form would tell the model."""
    watches = watches_of(house, asked)

    def show(text: str) -> None:
        if text:
            written.texts.append(text)
            queue.put_nowait((side, text))

    async with contextlib.aclosing(outgoing(house, principal, written.ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, End):
                written.end = piece
                break
            assert isinstance(piece, Piece)
            show(watches.feed(piece.text, "")[0])
            if watches.decision is not None:
                break
    if watches.decision is None:
        show(watches.end()[0])
    if watches.decision is not None:
        show(watches.replacement)
        written.end = End("content_filter", written.end.usage)
    counted(house, visit, watches.counts(), watches.decision)
