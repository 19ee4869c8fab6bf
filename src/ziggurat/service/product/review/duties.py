"""What the review does without being asked: leases, deadlines, the webhook; and drafts that are written again."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import httpx

from ziggurat.product.principal import Principal
from ziggurat.records import Message
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE
from ziggurat.service.product.answering import Ask, End, drawn_seed
from ziggurat.service.product.house import House
from ziggurat.service.product.review.drafts import signals
from ziggurat.service.product.writing import outgoing_for
from ziggurat.workbench.review import deadlines, deciding, webhooks

log = logging.getLogger("ziggurat.service")

TICK_EVERY_S = 5.0
SEND_EVERY_S = 2.0
TIMEOUT_S = 10.0
AGAIN = {
    "en": "An expert has read this answer and asks you to write it again: {instruction}\nWrite only the new answer.",
    "zh": "专家看过这个回答，请你按要求重写：{instruction}\n只写新的回答。",
}
BETTER = {"en": "make it right and complete.", "zh": "让它正确而完整。"}


class ReviewDuties:
    """Regular duties of one server; two servers on one store may both do them."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._client: httpx.AsyncClient | None = None

    async def tick(self) -> None:
        await self.house.run(deadlines.tick)

    async def send(self) -> None:
        """What waits for the webhook: its address is the operator's, and redirects are not followed."""
        for one in await self.house.run(webhooks.due):
            if self._client is None:
                self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)
            trouble: str | None = None
            try:
                answer = await self._client.post(one.url, content=one.body, headers=one.headers)
                if not answer.is_success:
                    trouble = f"status {answer.status_code}"
            except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
                trouble = type(error).__name__
            await self.house.run(webhooks.sent, one.id, trouble)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


_TASKS: set[asyncio.Task[None]] = set()


async def write_again(house: House, principal: Principal, item_id: str, instruction: str | None) -> None:
    """Let the model write another draft, in a task of the server; the card shows it when it is there.

    Raises:
        Conflict: this is no rejected draft of one's own claim.
    """
    item, rejected = await house.run(deciding.begin_draft, principal, item_id)
    task = asyncio.create_task(_written_again(house, principal, item, rejected.text, instruction))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


async def _written_again(
    house: House, principal: Principal, item: Any, rejected: str, instruction: str | None
) -> None:
    text, found = None, dict[str, Any]()
    try:
        ask = ask_again(item, rejected, instruction)
        text, found = await written(house, ask)
        found |= await signals(house, ask.model, ask.messages, text)
    except Exception:
        log.warning("the model %s could not write the draft of %s again", item.model, item.id)
    await house.run(deciding.end_draft, principal, item.id, text, instruction=instruction, signals=found)


def ask_again(item: Any, rejected: str, instruction: str | None) -> Ask:
    """The conversation, the rejected draft, and what the expert asks for."""
    lang = "zh" if (item.lang or "").startswith("zh") else "en"
    asked = AGAIN[lang].format(instruction=(instruction or "").strip() or BETTER[lang])
    said = [Message.model_validate(one) for one in item.prompt]
    sampling = (item.made or {}).get("sampling") or {}
    ask = Ask(
        model=str(item.model),
        messages=[*said, Message(role="assistant", content=rejected), Message(role="user", content=asked)],
        temperature=sampling.get("temperature", DEFAULT_TEMPERATURE),
        top_p=sampling.get("top_p", 1.0),
        max_tokens=sampling.get("max_tokens") or DEFAULT_MAX_TOKENS,
        seed=drawn_seed(),
        owner="review",
        salt="review",
    )
    if rejected.strip():
        return ask
    return replace(ask, messages=[*said[:-1], said[-1].with_content(f"{said[-1].content}\n\n{asked}")])


async def written(house: House, ask: Ask) -> tuple[str, dict[str, Any]]:
    """The model's whole answer, and how sure it was."""
    text, found = "", dict[str, Any]()
    async for piece in outgoing_for(house, ask):
        if isinstance(piece, End):
            if (sure := piece.usage.get("mean_logprob")) is not None:
                found["mean_logprob"] = sure
            break
        text += piece.text
    return text, found
