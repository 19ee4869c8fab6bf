"""What leaves the house towards an upstream: masked or refused by the policy of the workspace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def outgoing(store: Store, workspace_id: str, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages as they may leave. Raises Invalid (code private_data) under the policy refuse."""
    raise NotImplementedError
