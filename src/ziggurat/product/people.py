"""People, preferences, roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def local_principal(store: Store, *, ip_prefix: str = "", request_id: str = "") -> Principal:
    """The owner of local mode, made at the first call."""
    raise NotImplementedError


def me(store: Store, principal: Principal) -> Me:
    """The person, the workspace, preferences and consents."""
    raise NotImplementedError


def change_me(store: Store, principal: Principal, changes: Mapping[str, Any]) -> Me:
    """Any of name locale preferences."""
    raise NotImplementedError


def list_people(
    store: Store, principal: Principal, *, cursor: str | None = None, limit: int = 50
) -> Page[Person]:
    """All of the workspace (admin)."""
    raise NotImplementedError


def change_person(store: Store, principal: Principal, person_id: str, changes: Mapping[str, Any]) -> Person:
    """Any of role status budget name (admin). Ends the person's sessions when role or status change."""
    raise NotImplementedError
