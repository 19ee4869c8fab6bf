"""Names for people in data sets: the same in every version, and without the store nobody can tell whose."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy import Connection, insert, select

from ziggurat.product.tokens import new_token
from ziggurat.store.store import Store
from ziggurat.store.tables.workspace import secrets

NAME = "pseudonym"


class Pseudonyms:
    """HMAC-SHA-256 of a person's id under a key that only the store has."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def of(self, person_id: str) -> str:
        return "p-" + hmac.new(self._key, person_id.encode(), hashlib.sha256).hexdigest()[:16]


def pseudonyms(conn: Connection, store: Store) -> Pseudonyms:
    """With the store's key, which is made at the first time; `conn` writes."""
    key = conn.execute(select(secrets.c.value).where(secrets.c.name == NAME)).scalar()
    if key is None:
        key = new_token()
        conn.execute(insert(secrets).values(name=NAME, value=key, created_at=store.now()))
    return Pseudonyms(str(key))
