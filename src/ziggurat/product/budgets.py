"""Tokens a day, per person and per key; plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def check(store: Store, principal: Principal, tokens: int = 0) -> None:
    """Raise TooMany (code budget) when today's budget does not allow `tokens` more."""
    raise NotImplementedError


def spend(store: Store, principal: Principal, *, prompt_tokens: int, completion_tokens: int) -> None:
    """Count them."""
    raise NotImplementedError


def usage(store: Store, principal: Principal) -> dict[str, Any]:
    """{tokens, requests, limit, resets_at} of today."""
    raise NotImplementedError
