"""Which topic an answer has, how risky it is, and whether a person must look at it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from ziggurat.store.clock import DAY
from ziggurat.store.tables.reviews import items
from ziggurat.store.words import folded, is_cjk, runs
from ziggurat.workbench.review.policies import DEFAULT, GENERAL, Kept, Policy, rows, view

CRITICAL = 3
RISKS = ("low", "normal", "high", "critical")
Draw = Callable[[], float]


def draw() -> float:
    """A number from 0 up to 1 that nobody can foresee: it decides which answers are sampled."""
    return secrets.randbelow(10**6) / 10**6


class Routed(NamedTuple):
    policy: Kept | None
    topic: str
    risk: int
    reasons: list[str]
    """Names of what asked for a person; empty: nothing did."""

    @property
    def rules(self) -> Policy:
        return self.policy or DEFAULT


def route(
    conn: Connection,
    workspace_id: str,
    *,
    texts: Sequence[str],
    draft: str,
    model: str | None,
    signals: Mapping[str, Any],
    customer_id: str | None,
    now: int,
    seen: Callable[[str], int | None] | None = None,
) -> Routed:
    """The topic of the newest question and the draft, and the routes that they meet."""
    known = [view(row) for row in rows(conn, workspace_id) if row.enabled]
    said = Words("\n".join([*texts[-1:], draft]))
    policy = _best(known, said)
    rules = policy or DEFAULT
    customer_days = _days(conn, customer_id, now) if seen is None else seen(customer_id or "")
    met = _met(rules, said, model, signals, customer_days)
    risk = min(CRITICAL, rules.risk + (1 if met else 0))
    return Routed(policy, rules.topic, risk, met)


class Words:
    """A text that is asked for words: whole words of spaced scripts, and parts of Chinese text."""

    def __init__(self, text: str) -> None:
        self.plain, self.spaced = folded(text), f" {' '.join(runs(text))} "

    def count(self, words: Sequence[str]) -> int:
        return sum(self.has(word) for word in words)

    def has(self, word: str) -> bool:
        parts = runs(word)
        if not parts:
            return False
        if all(is_cjk(part) for part in parts):
            return folded(word) in self.plain
        return f" {' '.join(parts)} " in self.spaced


def _best(known: Sequence[Kept], said: Words) -> Kept | None:
    """The topic with the most of its words in the text; the riskier one of two that have as many."""
    scored = [(said.count(one.words), one.risk, one.topic, one) for one in known if one.topic != GENERAL]
    most = max((one for one in scored if one[0]), key=lambda one: one[:3], default=None)
    if most is not None:
        return most[3]
    return next((one for one in known if one.topic == GENERAL), None)


def _met(
    rules: Policy, said: Words, model: str | None, signals: Mapping[str, Any], customer_days: int | None
) -> list[str]:
    routes, found = rules.routes, []
    if said.count(routes.words):
        found.append("words")
    if routes.new_customer_days is not None and (
        customer_days is None or customer_days < routes.new_customer_days
    ):
        found.append("new_customer")
    moderation = signals.get("moderation")
    if routes.moderation_over is not None and (moderation is None or moderation > routes.moderation_over):
        found.append("moderation")
    for name, bound, signal in (
        ("logprob", routes.logprob_under, "mean_logprob"),
        ("reward", routes.reward_under, "reward"),
    ):
        value = signals.get(signal)
        if bound is not None and (value is None or value < bound):  # a signal that is missing calms nobody
            found.append(name)
    if model is not None and model in routes.probation:
        found.append("probation")
    if signals.get("guard"):
        found.append("guard")
    return found


def _days(conn: Connection, customer_id: str | None, now: int) -> int | None:
    """Days since the customer's first reviewed answer; None: there was none."""
    if customer_id is None:
        return None
    first = conn.execute(
        select(func.min(items.c.created_at)).where(items.c.person_id == customer_id)
    ).scalar()
    return None if first is None else int((now - first) // DAY)
