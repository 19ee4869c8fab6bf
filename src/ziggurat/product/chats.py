"""Conversations: list, make, open, change, trash, fork."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def list_chats(
    store: Store,
    principal: Principal,
    *,
    folder_id: str | None = None,
    archived: bool = False,
    trash: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Chat]:
    """Pinned ones first, then by `updated_at`, newest first. Without `folder_id`: chats of every folder."""
    raise NotImplementedError


def create_chat(
    store: Store,
    principal: Principal,
    *,
    title: str = "",
    model: str | None = None,
    folder_id: str | None = None,
    persona_id: str | None = None,
    system_prompt: str | None = None,
    settings: Mapping[str, Any] | None = None,
    data_use: bool = False,
) -> Chat:
    """A new, empty chat."""
    raise NotImplementedError


def get_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """One chat."""
    raise NotImplementedError


def open_chat(store: Store, principal: Principal, chat_id: str, *, limit: int = 50) -> OpenChat:
    """The chat, the last messages of its active path and the running generation."""
    raise NotImplementedError


def change_chat(store: Store, principal: Principal, chat_id: str, changes: Mapping[str, Any]) -> Chat:
    """Any of title model folder_id persona_id system_prompt settings data_use pinned archived active_leaf_id."""
    raise NotImplementedError


def trash_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """Put it into the trash."""
    raise NotImplementedError


def restore_chat(store: Store, principal: Principal, chat_id: str) -> Chat:
    """Take it out of the trash."""
    raise NotImplementedError


def fork_chat(store: Store, principal: Principal, chat_id: str, message_id: str) -> Chat:
    """A new chat with the path up to a message."""
    raise NotImplementedError
