"""Import of chats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def import_file(store: Store, principal: Principal, data: bytes) -> Imported:
    """Our JSON or zip, ChatGPT's export, Open WebUI's."""
    raise NotImplementedError
