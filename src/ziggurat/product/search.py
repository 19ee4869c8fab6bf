"""Full text over my chats."""

from __future__ import annotations

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def search(store: Store, principal: Principal, query: str, *, limit: int = 20) -> list[SearchHit]:
    """Hits, newest first; `marks` are character ranges in the snippet."""
    raise NotImplementedError
