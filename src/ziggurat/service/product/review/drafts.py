"""In a reviewed workspace a draft stays on the server: nothing of it is shown, logged for followers, or kept as events.

`Unseen` stands over the guard's watches of an answer. It lets the guard read everything and shows nothing; at the end
the answer is held. The keeper then puts it into the line, in the transaction that ends the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from sqlalchemy import Connection

from ziggurat.product.calls import as_text
from ziggurat.records import Message
from ziggurat.safety.guard import Decision
from ziggurat.service.product.generations import Outcome, Watches
from ziggurat.workbench.review.held import of_message
from ziggurat.workbench.review.intake import Draft, take_in

if TYPE_CHECKING:
    from ziggurat.service.product.answering import Ask
    from ziggurat.service.product.house import House

log = logging.getLogger("ziggurat.service")

REVIEWED = Decision(action="hold")
"""No rule acts: the workspace is reviewed."""
JUDGED_CHARS = 20_000


class Unseen(Watches):
    """The watches of an answer that a person decides on before anybody sees it."""

    def __init__(self, inner: Watches) -> None:
        super().__init__(inner.answer, inner.reasoning)
        self._over = False

    def feed(self, text: str, reasoning: str) -> tuple[str, str]:
        super().feed(text, reasoning)
        return "", ""

    def end(self) -> tuple[str, str]:
        super().end()
        self._over = True
        return "", ""

    @property
    def decision(self) -> Decision | None:
        """The guard's, else at the end that it is held."""
        return super().decision or (REVIEWED if self._over else None)

    def judge_calls(self, calls: Sequence[dict[str, Any]]) -> None:
        if calls and super().decision is None:
            self.answer.judge_calls(as_text(calls))

    @property
    def replacement(self) -> str:
        """Nothing was shown, so a template of the guard stands alone."""
        decided = super().decision
        return "" if decided is None else decided.text or ""


async def signals(house: House, model: str, messages: Sequence[Message], text: str) -> dict[str, Any]:
    """What hints at how good a draft is: a reward model's score where one is served, and the moderation's. A signal
    that cannot be had is missing, which calms nobody."""
    found: dict[str, Any] = {}
    reward = next((one for one in house.services.shelf if one.kind == "reward_model"), None)
    try:
        if reward is not None:
            judge: Any = reward.worker.chat
            rows = await anyio.to_thread.run_sync(
                lambda: judge.rows([[*messages, Message(role="assistant", content=text)]])
            )
            (score,) = await reward.worker.call(lambda: judge.score(rows), owner="review")
            found |= {"reward": round(float(score), 4), "reward_model": reward.card.name}
    except Exception:
        log.warning("the reward model %s has no score for a draft of %s", reward and reward.card.name, model)
    moderator = house.guard.moderator
    if moderator is not None and text:
        try:
            results, _ = await anyio.to_thread.run_sync(lambda: moderator.classify([text[:JUDGED_CHARS]]))
            scores = results[0].get("category_scores") or {}
            if scores:
                worst = max(scores, key=lambda name: float(scores[name]))
                found |= {"moderation": round(float(scores[worst]), 4), "moderation_category": worst}
        except Exception:
            log.warning("the moderation has no score for a draft of %s", model)
    return found


def intake(
    store: Any,
    ask: Ask,
    outcome: Outcome,
    *,
    found: dict[str, Any],
    made: dict[str, Any],
    guarded: bool,
    lang: str | None,
) -> Any:
    """What the end of a held answer does beside it: its item."""
    prompt = [one.model_dump(exclude_none=True) for one in ask.messages]
    acted = {"guard": outcome.guard} if guarded else {}
    draft = Draft(
        text=outcome.text,
        prompt=prompt,
        model=ask.model,
        lang=lang,
        signals={**found, **acted},
        made=made,
    )

    def also(conn: Connection, row: Any) -> None:
        take_in(
            conn,
            store,
            draft,
            workspace_id=row.workspace_id,
            person_id=row.person_id,
            channel="chat",
            chat_id=row.chat_id,
            message_id=row.message_id,
            held_id=of_message(conn, row.message_id) if guarded else None,
        )

    return also


def language_of(text: str) -> str:
    """zh for a text of mostly Chinese characters, else en."""
    letters = [char for char in text if char.isalpha()]
    chinese = sum("\u4e00" <= char <= "\u9fff" for char in letters)
    return "zh" if letters and chinese >= len(letters) / 3 else "en"
