"""Registration: open, by invitation, or closed; the one-time set-up token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def setup_token(store: Store) -> str | None:
    """A new one-time token (the earlier one ends), or None when there is an owner."""
    raise NotImplementedError


def needs_setup(store: Store) -> bool:
    """Whether nobody owns this workspace yet."""
    raise NotImplementedError


def set_up(
    store: Store, *, token: str, email: str, name: str, password: str, locale: str = "en", ip_prefix: str = ""
) -> Person:
    """Make the owner."""
    raise NotImplementedError


def register(
    store: Store,
    *,
    email: str,
    name: str,
    password: str,
    invitation: str | None = None,
    locale: str = "en",
    ip_prefix: str = "",
) -> Person:
    """Make an account."""
    raise NotImplementedError


def invite(
    store: Store, principal: Principal, *, email: str | None = None, role: str = "member", days: int = 7
) -> tuple[Invitation, str]:
    """An invitation and its secret, shown once."""
    raise NotImplementedError


def list_invitations(store: Store, principal: Principal) -> list[Invitation]:
    """All that are open."""
    raise NotImplementedError


def revoke_invitation(store: Store, principal: Principal, invitation_id: str) -> None:
    """End one."""
    raise NotImplementedError
