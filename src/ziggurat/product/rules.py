"""The guard's rules: changed by an administrator while the server runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal

from ziggurat.product.objects import *  # noqa: F403
from ziggurat.product.principal import Principal
from ziggurat.store.store import Store


def version(store: Store) -> int:
    """Grows with every change of a rule, in any process; cheap (one indexed row)."""
    raise NotImplementedError


def enabled_rules(store: Store) -> list[GuardRule]:
    """What the guard loads when `version` changed."""
    raise NotImplementedError


def list_rules(store: Store, principal: Principal) -> list[GuardRule]:
    """All, the disabled ones too."""
    raise NotImplementedError


def create_rule(store: Store, principal: Principal, rule: Mapping[str, Any]) -> GuardRule:
    """kind, name, pattern | words, categories, topic, stage, action, templates {locale: [texts]}, enabled."""
    raise NotImplementedError


def change_rule(store: Store, principal: Principal, rule_id: str, changes: Mapping[str, Any]) -> GuardRule:
    """Fields as above."""
    raise NotImplementedError


def delete_rule(store: Store, principal: Principal, rule_id: str) -> None:
    """Remove one."""
    raise NotImplementedError
