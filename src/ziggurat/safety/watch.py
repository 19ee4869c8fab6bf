"""Watches one answer while it is written, and holds back only what may still become a match.

The text that arrives is folded (`disguises.fold`) and compared with the rules at every piece. Its end waits while it is
the beginning of something that a rule matches (`prefixes.py`), at most `MAX_WAIT` characters; all before it is shown.
What hides in an encoding or between other letters is looked for every `EVERY` characters and at the end, in the last
`BACK` characters; of such a text a part may have been shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import re2

from ziggurat.safety.disguises import fold, views
from ziggurat.safety.guard import REFRESH_S, Decision, Guard
from ziggurat.safety.prefixes import beginnings
from ziggurat.safety.rules import Compiled, Match, Rule, RuleSet, compiled_expression, strictest

MAX_WAIT = 240
"""Characters that wait at most."""
WINDOW = 480
"""Characters that are compared with the rules at every piece, those that wait included."""
PIECE = WINDOW - MAX_WAIT
"""Characters that are judged at once: with those that wait they fill the window."""
EVERY, BACK = 400, 1_000
FINE_WITHIN = 240
"""Characters of an answer in which the `fine` of a rule must occur; they wait until it does."""
_MORE = "_"
"""Stands for the text that is still to come: a word boundary at the end of a piece is not yet one."""


class Waiting:
    """Which end of a text may become a match of one of these expressions."""

    def __init__(self, expressions: Iterable[tuple[str, int]]) -> None:
        """(expression, characters that wait if it cannot be read)."""
        self.reach = 0
        self._begun: list[Any] = []
        for expression, reach in expressions:
            begun = beginnings(expression)
            try:
                if begun is not None:
                    self._begun.append(compiled_expression(rf"(?:{begun})\z"))
                    continue
            except re2.error:
                pass
            self.reach = max(self.reach, reach)

    def start(self, text: str) -> int:
        """The first character that must wait; the length of the text if none must."""
        begin = len(text) - self.reach
        for expression in self._begun:
            hit = expression.search(text)
            if hit is not None:
                begin = min(begin, hit.start())
        return max(begin, 0)


class _Condition:
    """What must and must not be in the answer to a request that matched a rule."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.fine = None if rule.fine is None else compiled_expression(rule.fine)
        self.unfit = None if rule.unfit is None else compiled_expression(rule.unfit)
        self.waiting = Waiting([(rule.unfit, rule.reach)] if rule.unfit else [])


class _After:
    """The rules for answers, as a stream needs them; one for each set of rules."""

    def __init__(self, rules: RuleSet) -> None:
        self.members = rules.after.compiled
        self.passes = rules.after.passes
        self.waiting = Waiting([(one.rule.expression, one.rule.reach) for one in self.members])
        self.harmless = {
            one.rule.id: Waiting([(one.rule.unless, one.rule.reach)])
            for one in self.members
            if one.rule.unless
        }


def _after(rules: RuleSet) -> _After:
    found: _After | None = rules.kept.get("after")
    if found is None:
        found = rules.kept["after"] = _After(rules)
    return found


def _condition(rules: RuleSet, rule: Rule) -> _Condition:
    found: _Condition | None = rules.kept.get(("condition", rule.id))
    if found is None:
        found = rules.kept["condition", rule.id] = _Condition(rule)
    return found


class AnswerWatch:
    """`feed` every piece of an answer, then `end`. Both return what may be shown now."""

    def __init__(self, guard: Guard, asked: Decision) -> None:
        self.guard, self.asked = guard, asked
        self.decision: Decision | None = None
        """What ends the answer, once something does; from then on nothing more is shown."""
        self.logged: list[Match] = []
        self.refused = False
        """After `end`: the model itself refused (layer 2)."""
        self.shown = 0
        """Characters that were shown."""
        self._rules = guard.rules(at_most_every_s=REFRESH_S)
        self._conditions = [_condition(self._rules, rule) for rule in asked.conditions]
        self._unproven = [one for one in self._conditions if one.fine is not None]
        self._checked_at = time.monotonic()
        self._text = ""  # the last BACK characters as they arrived
        self._opening = ""  # the first ones, for the refusal classifier
        self._arrived = 0
        self._views_at = 0
        self._pending = ""  # arrived and not shown
        self._seen = ""  # folded: the last WINDOW characters
        self._at: list[int] = []  # the place of each folded character in the answer
        self._told: set[str] = set()
        if asked.begun:
            self._append(asked.begun[-WINDOW:])
            self._pending, self.shown = "", self._arrived

    @property
    def replacement(self) -> str:
        """What the guard shows after what has been shown; "" while it does not act."""
        text = "" if self.decision is None else self.decision.text or ""
        return f"\n\n{text}" if text and self.shown > len(self.asked.begun[-WINDOW:]) else text

    def feed(self, text: str) -> str:
        """A piece of the answer arrives; what may be shown now. A long one is judged part by part."""
        return "".join(self._feed(text[at : at + PIECE]) for at in range(0, len(text), PIECE))

    def _feed(self, text: str) -> str:
        if self.decision is not None:
            return ""
        self._append(text)
        now = time.monotonic()
        if now - self._checked_at >= REFRESH_S:
            self._checked_at = now
            self._rules = self.guard.rules(at_most_every_s=REFRESH_S)
        return self._show(ended=False)

    def flush(self) -> str:
        """The text ends here for now (a tool call begins); what may be shown."""
        return "" if self.decision is not None else self._show(ended=True)

    def end(self) -> str:
        """The answer is complete; the rest that may be shown."""
        shown = self.flush()
        if self.decision is None:
            self.refused = self.guard.refusals.flags(self._opening)
        return shown

    def judge_calls(self, text: str) -> None:
        """Tool calls below the answer, as text, after `end`; what a rule decides about them ends the answer.

        They have no conditions to meet, and the classifier of refusals does not read them.
        """
        if not text or self.decision is not None:
            return
        calls = AnswerWatch(self.guard, replace(self.asked, conditions=(), begun=""))
        calls.feed(text)
        calls.flush()
        self.decision = calls.decision
        self.logged += calls.logged

    def counts(self) -> list[tuple[str, str]]:
        """(layer, action) of everything that matched in the answer, for the metrics; after `end`."""
        found = [] if self.decision is None else self.decision.counts()
        found += [(match.rule.layer, "log") for match in self.logged]
        return [*dict.fromkeys(found), *([("model", "refuse")] if self.refused else [])]

    # --- what has arrived -------------------------------------------------------------------------------------------

    def _append(self, text: str) -> None:
        folded: list[str] = []
        last = self._seen[-1:]
        for place, character in enumerate(text, start=self._arrived):
            spelled = " " if character.isspace() else fold(character)
            for one in spelled:
                if one != " " or last != " ":
                    folded.append(one)
                    self._at.append(place)
                    last = one
        self._seen = (self._seen + "".join(folded))[-WINDOW:]
        del self._at[:-WINDOW]
        self._arrived += len(text)
        self._pending += text
        self._text = (self._text + text)[-BACK:]
        if len(self._opening) < BACK:
            self._opening = (self._opening + text)[:BACK]

    def _show(self, *, ended: bool) -> str:
        self._judge(ended=ended)
        if self.decision is not None:
            self._pending = ""
            return ""
        wait_from = self._arrived if ended else self._wait_from()
        ready = len(self._pending) - (self._arrived - wait_from)
        shown, self._pending = self._pending[: max(ready, 0)], self._pending[max(ready, 0) :]
        self.shown += len(shown)
        return shown

    def _wait_from(self) -> int:
        """The place in the answer from which the text waits."""
        if self._unproven:
            return self.shown
        after = _after(self._rules)
        waits = [after.waiting, *(one.waiting for one in self._conditions)]
        waits += [after.harmless[rule] for rule in after.harmless if rule in self._doubtful]
        begin = min((one.start(self._seen) for one in waits), default=len(self._seen))
        begin = max(begin, len(self._seen) - MAX_WAIT)
        return self._at[begin] if begin < len(self._at) else self._arrived

    # --- judging ------------------------------------------------------------------------------------------------------

    def _judge(self, *, ended: bool) -> None:
        self._doubtful: set[str] = set()
        matches = self._found(ended=ended)
        for condition in self._conditions:
            unfit = condition.unfit and self._place(condition.unfit, ended=ended)
            if unfit:
                matches.append(Match(condition.rule, "plain", self._seen[slice(*unfit)]))
        if ended or self._arrived - self._views_at >= EVERY:
            self._views_at = self._arrived
            matches += self._disguised(ended=ended)
            if (decided := self.guard.moderated_answer(self.asked, self._text)) is not None:
                self.decision = decided
                return
        matches += self._unproven_matches(ended=ended)
        for match in matches:
            if match.rule.action == "log" and match.rule.id not in self._told:
                self._told.add(match.rule.id)
                self.logged.append(match)
        acting = strictest([match for match in matches if match.rule.action != "log"])
        if acting is not None:
            self.decision = self.guard.decided(self.asked, acting, stage="after")

    def _found(self, *, ended: bool) -> list[Match]:
        after, found = _after(self._rules), list[Match]()
        text = self._seen if ended else self._seen + _MORE
        for expression, members in after.passes:
            if expression.search(text) is None:
                continue
            for one in members:
                place = one.found(text)
                if place is None or place[1] > len(self._seen) or one.rule.id in self._told:
                    continue
                if not ended and self._may_be_harmless(after, one, place):
                    self._doubtful.add(one.rule.id)
                    continue
                found.append(Match(one.rule, "plain", text[slice(*place)]))
        return found

    def _disguised(self, *, ended: bool) -> list[Match]:
        """Rules that match the answer in another form than the one that `_found` reads."""
        text = self._text if ended else self._text.rpartition(" ")[0]
        several = [view for view in views(text) if view.name not in ("plain", "folded")]
        return self._rules.after.matches(several) if several else []

    def _may_be_harmless(self, after: _After, one: Compiled, place: tuple[int, int]) -> bool:
        """Whether more text can make what matched a harmless phrase."""
        waiting = after.harmless.get(one.rule.id)
        if waiting is None:
            return False
        begin = waiting.start(self._seen)
        return begin < place[1] and len(self._seen) - begin < MAX_WAIT

    def _place(self, expression: Any, *, ended: bool) -> tuple[int, int] | None:
        text = self._seen if ended else self._seen + _MORE
        hit = expression.search(text)
        return None if hit is None or hit.end() > len(self._seen) else hit.span()

    def _unproven_matches(self, *, ended: bool) -> list[Match]:
        """Rules whose `fine` has not come in time."""
        self._unproven = [one for one in self._unproven if self._place(one.fine, ended=ended) is None]
        late = ended or self._arrived - len(self.asked.begun[-WINDOW:]) > FINE_WITHIN
        return [Match(one.rule, "plain", "") for one in self._unproven] if late else []
