"""Folders of chats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def list_folders(store: Store, principal: Principal) -> list[Folder]:
    """All of mine."""
    raise NotImplementedError


def create_folder(store: Store, principal: Principal, *, name: str, parent_id: str | None = None) -> Folder:
    """A new one."""
    raise NotImplementedError


def change_folder(store: Store, principal: Principal, folder_id: str, changes: Mapping[str, Any]) -> Folder:
    """Any of name parent_id position."""
    raise NotImplementedError


def delete_folder(store: Store, principal: Principal, folder_id: str) -> None:
    """Its chats and sub-folders move to its parent."""
    raise NotImplementedError
