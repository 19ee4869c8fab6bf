"""API keys of the store, for the API's endpoints: found by their hash, limited like those of a key file.

A key is looked up on a worker thread and then remembered for FRESH_S, so a revoked key ends within that time. Tokens
count against the day's budget of its owner and of the key.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from ziggurat.product import budgets, keys
from ziggurat.product.objects import ApiKey
from ziggurat.product.principal import Principal
from ziggurat.product.rights import can
from ziggurat.service.access.keys import Key, Quota, hash_of
from ziggurat.service.product.house import House

FRESH_S = 1.0
MOST = 10_000
"""Keys that are remembered; beyond it all are forgotten, their minutes' budgets too."""


@dataclass
class Known:
    quota: Quota
    principal: Principal
    checked: float


class StoreKeys:
    """`KeyCheck`'s further keys."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: dict[str, Known] = {}

    async def __call__(self, authorization: str) -> Quota | None:
        """
        Raises:
            TooMany: today's budget is used up.
        """
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return None
        sha256, now = hash_of(secret.strip()), time.monotonic()
        known = self._known.get(sha256)
        if known is None or now - known.checked > FRESH_S:
            found = await self._house.run(keys.principal_of_key, secret.strip())
            if found is None:
                self._known.pop(sha256, None)
                return None
            if len(self._known) >= MOST:
                self._known.clear()
            known = self._known[sha256] = self._of(sha256, *found, known)
            known.checked = now
        await self._house.run(budgets.check, known.principal)
        return known.quota

    def _of(self, sha256: str, principal: Principal, key: ApiKey, known: Known | None) -> Known:
        """The key as it is now, with what the role of its person allows; what it has used of its minute stays."""
        limits = {name: value for name, value in key.limits.items() if name in LIMITS}
        now = Key(name=key.name, sha256=sha256, admin=can(principal, "model.write"), **limits)
        quota = known.quota if known is not None and known.quota.key == now else Quota.of(now)

        async def spend(prompt: int, written: int) -> None:
            await self._house.run(budgets.spend, principal, prompt_tokens=prompt, completion_tokens=written)

        allowed = None if key.model_allow is None else frozenset(key.model_allow)
        quota.scopes, quota.models, quota.spend = principal.scopes, allowed, spend
        quota.person_id, quota.key_id, quota.principal = principal.person_id, principal.key_id, principal
        return Known(quota, principal, 0.0)


LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent")
