"""API keys: shown once, hashes kept, scopes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store

SCOPES = ("chat", "embeddings", "files", "fine_tune", "label", "review", "admin:read", "admin")


def create_key(
    store: Store,
    principal: Principal,
    *,
    name: str,
    scopes: Sequence[str] = ("chat",),
    expires_at: str | None = None,
    limits: Mapping[str, int] | None = None,
    model_allow: Sequence[str] | None = None,
) -> tuple[ApiKey, str]:
    """The key and its secret, shown once."""
    raise NotImplementedError


def list_keys(store: Store, principal: Principal, *, everyone: bool = False) -> list[ApiKey]:
    """Mine, or all (admin)."""
    raise NotImplementedError


def revoke_key(store: Store, principal: Principal, key_id: str) -> None:
    """Mine, or any (admin)."""
    raise NotImplementedError


def principal_of_key(
    store: Store, secret: str, *, ip_prefix: str = "", request_id: str = ""
) -> tuple[Principal, ApiKey] | None:
    """Who a secret is; None where it is unknown, expired or revoked."""
    raise NotImplementedError
