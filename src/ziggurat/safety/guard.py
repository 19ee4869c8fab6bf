"""The guard before and after a model, for the page and the API alike (DESIGN 17; A080 to A087).

    guard = Guard(Builtin())
    asked = guard.before(messages)              what becomes of a request
    if asked.acts: show asked.text              in place of an answer
    watch = guard.watch(asked)                  else: every piece of the answer passes through here
    shown = watch.feed(piece); ... watch.end()
    if watch.decision: show watch.replacement   the rest of the answer is not shown

The record of a decision names the layer: `patterns` (expressions, word lists, moderation layers), `policy` (the table
by topic) or `model` (its own refusal, which is only counted).

Rules are compiled once for each version of their source, and the version is asked at every request: a change binds at
once, in every process that has the same source. Nothing that a user writes changes a rule or is kept here.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from ziggurat.safety.disguises import views
from ziggurat.safety.moderator import Moderator
from ziggurat.safety.rules import Layer, Match, Rule, RuleSet, RuleSource, strictest
from ziggurat.safety.wording import HELD, REFUSALS, locale_of, pick
from ziggurat.safety.words import WordClassifier

if TYPE_CHECKING:
    from ziggurat.safety.watch import AnswerWatch

log = logging.getLogger("ziggurat.service")

REFRESH_S = 0.5
"""Seconds after which a stream asks again for the version of the rules."""
MODERATION_TEXT = 20_000
"""Characters of one text that the moderation layers judge."""

Outcome = Literal["pass", "log", "hold", "answer", "block"]


class Said(Protocol):
    """A message of a conversation."""

    @property
    def role(self) -> str: ...
    @property
    def content(self) -> str: ...


@dataclass(frozen=True)
class Decision:
    """What the guard decides about one request or one answer."""

    action: Outcome = "pass"
    layer: Layer | None = None
    rule_id: str | None = None
    category: str | None = None
    text: str | None = None
    """What is shown in place of the answer."""
    stage: Literal["before", "after"] = "before"
    matches: tuple[Match, ...] = ()
    """All rules that matched, those that only log among them."""
    conditions: tuple[Rule, ...] = ()
    """Rules under which the model's own answer is shown only if it is fit."""
    locale: str = "en"
    history: tuple[str, ...] = field(default=(), repr=False)
    """The answers of the conversation so far."""
    question: str = field(default="", repr=False)
    begun: str = field(default="", repr=False)
    """The beginning of the answer where the request gave one."""

    @property
    def acts(self) -> bool:
        """Whether `text` stands in place of the answer."""
        return self.action in ("hold", "answer", "block")

    def record(self) -> dict[str, str | None] | None:
        """For the response and the message's record; None if no rule acted."""
        if not self.acts:
            return None
        return {"layer": self.layer, "action": self.action, "rule": self.rule_id, "category": self.category}

    def counts(self) -> list[tuple[str, str]]:
        """(layer, action) of everything that matched, for the metrics."""
        if self.acts and self.layer is not None:
            return [(self.layer, self.action)]
        return [*dict.fromkeys((match.rule.layer, "log") for match in self.matches)]


class Guard:
    """One guard for a server. Several threads use it at once.

    `moderator` and `moderation`: layers of `/v1/moderations`, and what a flagged category does (block, hold, log).
    """

    def __init__(
        self,
        source: RuleSource,
        *,
        moderator: Moderator | None = None,
        moderation: Mapping[str, Literal["block", "hold", "log"]] | None = None,
        refusals: WordClassifier | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source, self.moderator = source, moderator
        self._moderation = moderation
        self.refusals = refusals or WordClassifier.packaged("refusals")
        self.trouble: str | None = None
        self._clock, self._asked = clock, 0.0
        self._lock = threading.Lock()
        version = source.version()
        self._rules = RuleSet(source.rules(), version)
        self._rules.before.matches(
            views("Hello, how are you today? 你好")
        )  # RE2 builds its tables at the first search

    def also(self, source: RuleSource) -> Guard:
        """The same guard with the rules of one more source, which take the place of those with the same ids."""
        from ziggurat.safety.sources import Several

        return Guard(
            Several(self.source, source),
            moderator=self.moderator,
            moderation=self._moderation,
            refusals=self.refusals,
        )

    # --- rules ---------------------------------------------------------------------------------------------------

    def rules(self, *, at_most_every_s: float = 0.0) -> RuleSet:
        """The rules of the source's present version. A source that fails leaves the last good ones in use."""
        now = self._clock()
        if at_most_every_s and now - self._asked < at_most_every_s:
            return self._rules
        self._asked = now
        try:
            version = self.source.version()
            if version != self._rules.version:
                with self._lock:
                    if version != self._rules.version:
                        self._rules = RuleSet(self.source.rules(), version)
        except Exception as error:
            if self.trouble is None:
                log.exception("the guard's rules cannot be read; the last good ones stay in use")
            self.trouble = str(error) or type(error).__name__
        else:
            self.trouble = getattr(self.source, "trouble", None)
        return self._rules

    @property
    def moderation(self) -> Mapping[str, str]:
        if self._moderation is not None:
            return self._moderation
        found: Mapping[str, str] = getattr(self.source, "moderation", {})
        return found

    # --- before -------------------------------------------------------------------------------------------------

    def before(self, messages: Sequence[Said], locale: str | None = None) -> Decision:
        """What becomes of a request, judged by its newest turn: what the user said since the last answer.

        Results of tools are data: rules that match in them are recorded and do not act. System messages are the
        operator's and are not examined.
        """
        rules = self.rules()
        turn, begun = _newest_turn(messages)
        question = "\n".join(message.content for message in turn if message.role == "user")
        given = "\n".join(message.content for message in turn if message.role == "tool")
        history = tuple(m.content for m in messages if m.role == "assistant")
        asked = Decision(
            locale=locale or locale_of(question), history=history, question=question, begun=begun
        )
        matches = rules.before.matches(views(question)) if question.strip() else []
        from_tools = rules.before.matches(views(given)) if given.strip() else []
        acting = [match for match in matches if not _is_conditional(match.rule)]
        decided = self._moderated(asked, question) or self.decided(asked, strictest(acting))
        seen = (
            *matches,
            *(match for match in from_tools if match.rule.id not in {m.rule.id for m in matches}),
        )
        if decided.acts:
            return replace(decided, matches=seen)
        conditions = tuple(match.rule for match in matches if _is_conditional(match.rule))
        return replace(decided, action="log" if seen else "pass", matches=seen, conditions=conditions)

    def decided(
        self, asked: Decision, match: Match | None, *, stage: Literal["before", "after"] = "before"
    ) -> Decision:
        """The decision that follows from a match; `asked` unchanged if it does not act."""
        if match is None or match.rule.action == "log":
            return asked
        rule = match.rule
        return replace(
            asked,
            action=rule.action,
            layer=rule.layer,
            rule_id=rule.id,
            category=rule.category,
            text=self._wording(asked, rule),
            stage=stage,
            matches=(match,),
        )

    def _wording(self, asked: Decision, rule: Rule) -> str:
        own = HELD if rule.action == "hold" else REFUSALS
        return pick(rule.templates or own, asked.locale, asked.history, asked.question)

    def _moderated(
        self, asked: Decision, text: str, *, stage: Literal["before", "after"] = "before"
    ) -> Decision | None:
        """The decision of the layers of `/v1/moderations`; None if they do not act."""
        acting = {c: action for c, action in self.moderation.items() if action != "log"}
        if self.moderator is None or not acting or not text.strip():
            return None
        for layer in self.moderator.layers:
            (verdicts,) = layer.classify([text[:MODERATION_TEXT]])
            for category, action in acting.items():
                if category in verdicts and verdicts[category].flagged:
                    own = HELD if action == "hold" else REFUSALS
                    return replace(
                        asked,
                        action=action,  # type: ignore[arg-type]
                        layer="patterns",
                        rule_id=f"moderation.{layer.name}",
                        category=category,
                        text=pick(own, asked.locale, asked.history, asked.question),
                        stage=stage,
                    )
        return None

    # --- after --------------------------------------------------------------------------------------------------

    def watch(self, asked: Decision | None = None, locale: str | None = None) -> AnswerWatch:
        """A watch over one answer; `asked` is what `before` said about its request."""
        from ziggurat.safety.watch import AnswerWatch

        asked = asked or Decision()
        return AnswerWatch(self, asked if locale is None else replace(asked, locale=locale))

    def moderated_answer(self, asked: Decision, text: str) -> Decision | None:
        return self._moderated(asked, text, stage="after")

    # --- for administrators ---------------------------------------------------------------------------------------

    def explain(self, text: str) -> list[Match]:
        """Every enabled rule that this text would meet, as a request or as an answer."""
        rules, seen = self.rules(), views(text)
        found = {match.rule.id: match for match in rules.before.matches(seen)}
        for match in rules.after.matches(seen):
            found.setdefault(match.rule.id, match)
        return list(found.values())


def _is_conditional(rule: Rule) -> bool:
    return rule.fine is not None or rule.unfit is not None


def _newest_turn(messages: Sequence[Said]) -> tuple[list[Said], str]:
    """(the messages since the last answer, the beginning of an answer that is to be continued)."""
    begun = ""
    kept = list(messages)
    while kept and kept[-1].role == "assistant":
        begun = kept.pop().content + begun
    turn: list[Said] = []
    for message in reversed(kept):
        if message.role == "assistant":
            break
        turn.append(message)
    return turn[::-1], begun
