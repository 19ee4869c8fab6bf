"""Settings of the workspace: registration, retention, limits, budgets, masking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def get_settings(store: Store, principal: Principal) -> dict[str, Any]:
    """All, defaults included (admin)."""
    raise NotImplementedError


def change_settings(store: Store, principal: Principal, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Some of them."""
    raise NotImplementedError


def registration(store: Store) -> str:
    """open, invitation or closed."""
    raise NotImplementedError
