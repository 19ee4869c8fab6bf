"""Export of chats and of all my data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def export_chat(
    store: Store, principal: Principal, chat_id: str, format: str = "json"
) -> tuple[str, str, bytes]:
    """(file name, media type, bytes). json: the whole tree; markdown, text, jsonl: the active path."""
    raise NotImplementedError


def export_all(store: Store, principal: Principal, file: BinaryIO) -> None:
    """A zip of all my chats (JSON and Markdown)."""
    raise NotImplementedError


def export_me(store: Store, principal: Principal, file: BinaryIO) -> None:
    """A zip of all my data."""
    raise NotImplementedError
