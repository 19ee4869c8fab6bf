"""Read-only snapshots by an unguessable link."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def create_share(store: Store, principal: Principal, chat_id: str, *, expires_at: str | None = None) -> Share:
    """`url` is /shared/{token}; only this call knows the token."""
    raise NotImplementedError


def list_shares(store: Store, principal: Principal) -> list[Share]:
    """All of mine."""
    raise NotImplementedError


def revoke_share(store: Store, principal: Principal, share_id: str) -> None:
    """The link ends at once and the snapshot is deleted."""
    raise NotImplementedError


def view_share(store: Store, token: str) -> SharedChat:
    """What whoever has the link sees."""
    raise NotImplementedError


def continue_share(store: Store, principal: Principal, token: str) -> Chat:
    """A copy of one's own."""
    raise NotImplementedError
