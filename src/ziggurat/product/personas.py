"""Personas: a system prompt, a model and settings under a name; a change is a new version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def list_personas(store: Store, principal: Principal) -> list[Persona]:
    """Mine, and the shared ones of the workspace."""
    raise NotImplementedError


def create_persona(
    store: Store,
    principal: Principal,
    *,
    name: str,
    system_prompt: str,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    shared: bool = False,
) -> Persona:
    """A new one."""
    raise NotImplementedError


def change_persona(
    store: Store, principal: Principal, persona_id: str, changes: Mapping[str, Any]
) -> Persona:
    """Any of name system_prompt model settings shared: a new version."""
    raise NotImplementedError


def delete_persona(store: Store, principal: Principal, persona_id: str) -> None:
    """Chats that used it keep their version's text."""
    raise NotImplementedError
