"""The tree of messages of a chat."""

from __future__ import annotations

from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def get_message(store: Store, principal: Principal, chat_id: str, message_id: str) -> Message:
    """One message, with its siblings and the judgement of the one who asks."""
    raise NotImplementedError


def earlier(store: Store, principal: Principal, chat_id: str, before: str, *, limit: int = 50) -> Earlier:
    """Messages of the path that ends before `before`, oldest first."""
    raise NotImplementedError


def tree(store: Store, principal: Principal, chat_id: str) -> Tree:
    """All messages in short."""
    raise NotImplementedError


def conversation(store: Store, principal: Principal, chat_id: str, message_id: str) -> list[dict[str, Any]]:
    """The path from the root to `message_id`, it included, as {role, content, ...}: what a model is asked with. The system prompt comes first."""
    raise NotImplementedError
