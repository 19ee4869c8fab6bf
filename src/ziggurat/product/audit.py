"""The chain of audit entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def list_events(
    store: Store, principal: Principal, *, cursor: str | None = None, limit: int = 100
) -> Page[AuditEvent]:
    """Newest first (admin)."""
    raise NotImplementedError


def verify(store: Store) -> str | None:
    """None, or a sentence that says at which entry the chain breaks."""
    raise NotImplementedError
