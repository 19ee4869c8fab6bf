"""The one store of judgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def judge(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    value: int,
    reasons: Sequence[str] = (),
    comment: str | None = None,
    seconds: float | None = None,
) -> Message:
    """A thumb: 1, -1, or 0 to withdraw it."""
    raise NotImplementedError


def rewrite(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    text: str,
    seconds: float | None = None,
) -> Judgement:
    """A better answer: the text over the answer."""
    raise NotImplementedError


def pick(
    store: Store,
    principal: Principal,
    chat_id: str,
    *,
    shown: Sequence[str],
    winner: str,
    seconds: float | None = None,
) -> tuple[Judgement, list[Message]]:
    """winner: an id of `shown` (in the order shown), tie, or both_bad. The messages with their models."""
    raise NotImplementedError


def report(
    store: Store,
    principal: Principal,
    chat_id: str,
    message_id: str,
    *,
    kind: Literal["spam", "offensive", "feedback"],
    reason: str,
) -> Judgement:
    """Report a message."""
    raise NotImplementedError


def list_judgements(
    store: Store,
    principal: Principal,
    *,
    kind: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Page[Judgement]:
    """All of the workspace that a reader with the right may see."""
    raise NotImplementedError
