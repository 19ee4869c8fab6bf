"""Answers that the guard keeps for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def hold(
    store: Store,
    *,
    workspace_id: str,
    prompt: str,
    text: str,
    rule_id: str | None,
    stage: str,
    chat_id: str | None = None,
    message_id: str | None = None,
    person_id: str | None = None,
) -> HeldAnswer:
    """Keep one."""
    raise NotImplementedError


def list_held(store: Store, principal: Principal, *, open_only: bool = True) -> list[HeldAnswer]:
    """Oldest first."""
    raise NotImplementedError


def decide(
    store: Store, principal: Principal, held_id: str, decision: Literal["release", "refuse"]
) -> HeldAnswer:
    """Release puts the text into the message; refuse ends it with finish_reason content_filter."""
    raise NotImplementedError
