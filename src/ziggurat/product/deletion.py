"""True deletion: nothing of it is left in any table, index or page of the file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def delete_chat(store: Store, principal: Principal, chat_id: str) -> None:
    """A chat with everything in it."""
    raise NotImplementedError


def delete_message(store: Store, principal: Principal, chat_id: str, message_id: str) -> Chat:
    """A message with everything below it."""
    raise NotImplementedError


def delete_account(store: Store, principal: Principal, *, password: str | None = None) -> None:
    """The person's account with everything in it."""
    raise NotImplementedError
