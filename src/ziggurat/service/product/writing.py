"""From a turn that the rules have begun to an answer that is being written and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

import anyio.to_thread

from ziggurat.flywheel import examples
from ziggurat.product import budgets, chats, mask
from ziggurat.product import generations as kept
from ziggurat.product.calls import as_texts
from ziggurat.product.objects import Chat, Turn
from ziggurat.product.objects import Message as Shown
from ziggurat.product.principal import Principal
from ziggurat.product.workspaces import main_id
from ziggurat.records import Message
from ziggurat.safety.guard import Decision
from ziggurat.safety.rules import RuleSet
from ziggurat.service.http.limits import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE
from ziggurat.service.models.shelf import Served
from ziggurat.service.observe.visits import AnswerVisit, Visit
from ziggurat.service.product.answering import Ask, End, Piece, answer, drawn_seed
from ziggurat.service.product.generations import Generation, Outcome, Watches
from ziggurat.service.product.house import House
from ziggurat.service.product.review.drafts import Unseen, intake, language_of, signals
from ziggurat.service.upstream.meter import BYTES_PER_TOKEN
from ziggurat.workbench.review.intake import mode_of


async def check_model(house: House, principal: Principal, model: str | None, chat: Chat | None = None) -> str:
    """The model that answers: the one asked for, the chat's, or the first.

    Raises:
        ApiError: 404 for an unknown model.
        BusyError: its queue is full, or it has failed.
        TooMany: today's budget is used up.
    """
    await house.run(budgets.check, principal)
    shelf, upstreams = house.services.shelf, house.services.upstreams
    kept = chat.model if chat is not None else None
    if kept is not None and upstreams.named(kept) is None and kept not in {held.card.name for held in shelf}:
        kept = None  # the chat's model is gone, or is one of another server: the first one answers
    name = model or kept
    if name is not None and upstreams.named(name) is not None:
        return name
    served = shelf.named_or_first(name)
    served.worker.check_room()
    return served.card.name


async def write(
    house: House,
    principal: Principal,
    chat: Chat,
    shown: Shown,
    generation_id: str,
    *,
    asked_at_s: float,
) -> Generation:
    """Begin to write `shown`, a running answer of the chat; `asked_at_s`: when its request arrived (perf_counter)."""
    going_on = shown.content
    asked_at = shown.id if going_on else shown.parent_id
    path, added = list[dict[str, Any]](), list[examples.Example]()
    if asked_at is not None:
        path, added = await house.run(examples.conversation, principal, chat.id, asked_at)
    ask = ask_of(principal, chat, shown, path)
    ask = replace(ask, model=house.services.shelf.resolve(ask.model, principal.person_id))
    generation = Generation(
        id=generation_id,
        chat_id=chat.id,
        message_id=shown.id,
        person_id=principal.person_id,
        model=str(shown.model),
        asked=asked_at_s,
    )
    reviewed = await house.run(mode_of, principal.workspace_id) != "off"
    asked = await anyio.to_thread.run_sync(house.guard.before, examined(ask.messages))
    noted = AnswerVisit(generation_id, principal.request_id, began=asked_at_s)
    counted(house, noted, asked.counts(), asked)
    refused = asked.acts and asked.action != "hold"  # what is held is written, for a person to release
    watches = watches_of(house, asked)
    if reviewed:
        watches = Unseen(watches)
    return house.generations.begin(
        generation,
        lambda: nothing() if refused else outgoing(house, principal, ask),
        watches,
        StoreKeeper(house, principal, generation, ask, watches, noted, [one.judgement_id for one in added]),
        before=going_on,
    )


def watches_of(house: House, asked: Decision) -> Watches:
    """Over an answer, and over its reasoning, which has no conditions to meet."""
    if asked.acts:
        return Watches(Refused(asked), Refused(asked))
    beside = replace(asked, conditions=(), begun="")
    return Watches(house.guard.watch(asked), house.guard.watch(beside))


def examined(messages: Sequence[Message]) -> list[Message]:
    """The conversation as the guard reads it: on the page, the system prompt is the person's own too."""
    system = "\n".join(one.content for one in messages if one.role == "system")
    last = max((i for i, one in enumerate(messages) if one.role == "user"), default=None)
    if not system or last is None:
        return list(messages)
    asked = messages[last].with_content(f"{system}\n{messages[last].content}")
    return [*messages[:last], asked, *messages[last + 1 :]]


def ask_of(principal: Principal, chat: Chat, shown: Shown, path: Sequence[dict[str, Any]]) -> Ask:
    settings = {**chat.settings, **shown.settings}
    return Ask(
        model=str(shown.model),
        messages=[Message.model_validate(one) for one in as_texts(path)],
        temperature=settings.get("temperature", DEFAULT_TEMPERATURE),
        top_p=settings.get("top_p", 1.0),
        max_tokens=settings.get("max_tokens", DEFAULT_MAX_TOKENS),
        seed=drawn_seed() if settings.get("seed") is None else int(settings["seed"]),
        stop=settings.get("stop") or (),
        goes_on=bool(shown.content),
        owner=principal.person_id,
        salt=principal.person_id,
    )


def counted(
    house: House, visit: Visit | AnswerVisit, what: Sequence[tuple[str, str]], decision: Decision | None
) -> None:
    """What the guard did, for the metrics and for the request log."""
    house.services.metrics.guard_acted(what)
    visit.guarded(what, None if decision is None else decision.record())


async def nothing() -> AsyncGenerator[Piece | End]:
    """No model is asked."""
    yield End("content_filter")


class Refused:
    """The watch over an answer to a request on which the guard has acted: nothing of it is shown."""

    def __init__(self, decision: Decision) -> None:
        self.decision: Decision | None = decision
        self.replacement = decision.text or ""

    def feed(self, text: str) -> str:  # noqa: ARG002
        return ""

    def end(self) -> str:
        return ""

    def judge_calls(self, text: str) -> None:
        """They are not shown either."""

    def counts(self) -> list[tuple[str, str]]:
        return []  # its request was counted


async def outgoing_for(house: House, ask: Ask) -> AsyncGenerator[Piece | End]:
    """The model's pieces for an expert, masked as for anybody."""
    workspace_id = await house.run(main_id)
    async for piece in _outgoing(house, workspace_id or "", ask):
        yield piece


async def outgoing(house: House, principal: Principal, ask: Ask) -> AsyncGenerator[Piece | End]:
    """The model's pieces. What leaves for an upstream is masked by the workspace's policy."""
    async for piece in _outgoing(house, principal.workspace_id, ask):
        yield piece


async def _outgoing(house: House, workspace_id: str, ask: Ask) -> AsyncGenerator[Piece | End]:
    if house.services.upstreams.named(ask.model) is not None:
        sent = [one.model_dump(exclude_none=True) for one in ask.messages]
        masked = await house.run(mask.outgoing, workspace_id, sent)
        ask = replace(ask, messages=[Message.model_validate(one) for one in masked])
    async for piece in answer(house.services, ask):
        yield piece


class StoreKeeper:
    """Keeps one answer in the store."""

    def __init__(
        self,
        house: House,
        principal: Principal,
        generation: Generation,
        ask: Ask,
        watches: Watches,
        noted: AnswerVisit,
        examples: Sequence[str] = (),
    ) -> None:
        self.house, self.principal, self.generation, self.ask = house, principal, generation, ask
        self.watches, self.noted, self.examples = watches, noted, list(examples)

    async def append(self, events: Sequence[dict[str, Any]]) -> bool:
        house, generation = self.house, self.generation
        if not events:
            return await house.run(kept.heartbeat, generation.id)
        return await house.run(kept.append, generation.id, events)

    async def finish(self, outcome: Outcome) -> dict[str, Any]:
        house, principal, generation = self.house, self.principal, self.generation
        counted(house, self.noted, self.watches.counts(), self.watches.decision)
        await self._spend(outcome)
        self._log(outcome)
        made: dict[str, Any] = {
            "seed": self.ask.seed,
            "usage": {
                **{name: value for name, value in outcome.usage.items() if name != "mean_logprob"},
                "first_text_ms": generation.first_text_ms,
            },
            "hashes": hashes_of(house, self.ask.model)
            | ({"examples": self.examples} if self.examples else {}),
        }
        if outcome.state == "stopped":
            shown = await house.run(
                kept.stop,
                principal,
                generation.chat_id,
                generation.id,
                seen_chars=len(outcome.text),
                text=outcome.text,
                **made,
            )
        elif outcome.state in ("failed", "interrupted"):
            await house.run(kept.append, generation.id, generation.unsaved())
            error = outcome.error or {"message": "The answer was interrupted.", "code": "interrupted"}
            shown = await house.run(kept.fail, generation.id, error, **made)
        else:
            also = await self._also(outcome, made) if outcome.state == "held" else None
            shown = await house.run(
                kept.finish,
                generation.id,
                finish_reason=outcome.finish_reason or "stop",
                content=outcome.text,
                reasoning=outcome.reasoning or None,
                tool_calls=outcome.tool_calls or None,
                guard=outcome.guard,
                held=self._held(outcome),
                also=also,
                **made,
            )
        chat = await house.run(chats.get_chat, principal, generation.chat_id)
        return {
            "message": shown.model_dump(),
            "chat": {"title": chat.title, "active_leaf_id": chat.active_leaf_id},
        }

    def _held(self, outcome: Outcome) -> dict[str, Any] | bool:
        """What a person decides on."""
        if outcome.state != "held":
            return False
        if not self._by_guard(outcome):
            return True
        prompt, rule_id = self.ask.messages[-1].content, (outcome.guard or {}).get("rule")
        return {"prompt": prompt, "text": outcome.text, "rule_id": rule_id, "stage": "after"}

    @staticmethod
    def _by_guard(outcome: Outcome) -> bool:
        """Whether a rule holds it; without one, the workspace is reviewed."""
        return (outcome.guard or {}).get("layer") is not None

    async def _also(self, outcome: Outcome, made: dict[str, Any]) -> Any:
        """A held answer waits in the experts' line, from the same transaction on."""
        found = await signals(self.house, self.ask.model, self.ask.messages, outcome.text)
        if (logprob := outcome.usage.get("mean_logprob")) is not None:
            found["mean_logprob"] = logprob
        ask = self.ask
        sampling = {
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "max_tokens": ask.max_tokens,
            "seed": ask.seed,
        }
        return intake(
            self.house.store,
            ask,
            outcome,
            found=found,
            made={"sampling": sampling, "hashes": made["hashes"]},
            guarded=self._by_guard(outcome),
            lang=language_of(ask.messages[-1].content),
        )

    def _log(self, outcome: Outcome) -> None:
        """Its line of the request log: the request that began it has ended long ago."""
        noted, log = self.noted, self.house.services.request_log
        noted.ended(outcome.state, outcome.usage.get("prompt_tokens"), outcome.usage.get("completion_tokens"))
        if log is not None:
            log.write(noted)

    async def _spend(self, outcome: Outcome) -> None:
        """Count its tokens; of an answer that did not come to its end, one for each piece and for BYTES_PER_TOKEN."""
        usage, written = outcome.usage, sum(event["type"] in PIECES for event in self.generation.events)
        read = (
            sum(len(one.content.encode("utf-8", "replace")) for one in self.ask.messages) // BYTES_PER_TOKEN
        )
        await self.house.run(
            budgets.spend,
            self.principal,
            prompt_tokens=int(usage.get("prompt_tokens") or (read if written else 0)),
            completion_tokens=int(usage.get("completion_tokens") or written),
        )


PIECES = ("text", "reasoning")


def hashes_of(house: House, model: str) -> dict[str, Any]:
    """What an answer depends on: the weights and how they compute, the chat template, the guard's rules."""
    return hashes_with(house, {held.card.name: held for held in house.services.shelf}.get(model))


def hashes_with(house: House, known: Served | None) -> dict[str, Any]:
    """The same of the very model that answered; None for one of another server."""
    hashes: dict[str, Any] = {"rules": rules_hash(house.guard.rules())}
    if known is not None:
        jinja = getattr(getattr(known.worker.chat, "template", None), "jinja", None)
        hashes |= {"weights": known.card.weights, "fingerprint": known.fingerprint}
        hashes |= {"release": known.card.release} if known.card.release else {}
        hashes |= {} if jinja is None else {"template": hashlib.sha256(str(jinja).encode()).hexdigest()[:16]}
    return hashes


def rules_hash(rules: RuleSet) -> str:
    """Of everything that the rules say; the same in every process."""
    found: str | None = rules.kept.get("hash")
    if found is None:
        text = json.dumps([rule.model_dump() for rule in rules.rules], sort_keys=True, ensure_ascii=False)
        found = rules.kept["hash"] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return found


def begun(turn: Turn) -> dict[str, Any]:
    """The 202 answer."""
    shown = {"answer": turn.answer.model_dump(), "generation_id": turn.generation_id}
    return shown if turn.user is None else {"user": turn.user.model_dump(), **shown}
