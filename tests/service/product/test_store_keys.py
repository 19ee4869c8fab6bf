"""Keys of the store at the API: what a key may do follows the present role of its person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.product.house import join

from ziggurat.product import keys, people
from ziggurat.product.objects import Role
from ziggurat.service.product.store_keys import StoreKeys
from ziggurat.store.store import Store


@pytest.mark.parametrize(
    ("role", "admin", "scopes"),
    [
        ("developer", True, {"chat", "admin"}),
        ("member", False, {"chat"}),
        ("guest", False, set()),
    ],
)
def test_a_keys_power_follows_the_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role, admin: bool, scopes: set[str]
) -> None:
    monkeypatch.setattr("ziggurat.service.product.store_keys.FRESH_S", -1.0)  # asked anew each time
    store = Store.open(tmp_path / "ziggurat.db")

    async def run(rule: Callable[..., Any], *given: Any, **named: Any) -> Any:
        return rule(store, *given, **named)

    try:
        boss, dev = join(store, "owner"), join(store, "developer")
        _, secret = keys.create_key(store, dev, name="ci", scopes=["chat", "admin"])
        check = StoreKeys(SimpleNamespace(run=run))  # type: ignore[arg-type]
        quota = asyncio.run(check(f"Bearer {secret}"))
        assert quota is not None
        assert quota.key.admin
        people.change_person(store, boss, dev.person_id, {"role": role})
        quota = asyncio.run(check(f"Bearer {secret}"))
        assert quota is not None
        assert (quota.key.admin, quota.scopes) == (admin, scopes)
    finally:
        store.close()
