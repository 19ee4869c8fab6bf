"""Consent per purpose, off by default."""

from __future__ import annotations

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def consents(store: Store, principal: Principal) -> dict[str, bool]:
    """Each purpose."""
    raise NotImplementedError


def set_consent(store: Store, principal: Principal, purpose: str, given: bool) -> dict[str, bool]:
    """Give or withdraw one."""
    raise NotImplementedError
