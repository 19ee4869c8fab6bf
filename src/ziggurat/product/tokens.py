"""Secrets that are shown once: 256 random bits, of which the store keeps a hash; they end with time, or are revoked."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

from sqlalchemy import Column, Connection, Select

from ziggurat.product.errors import Invalid
from ziggurat.store.clock import from_iso
from ziggurat.store.store import Store


def new_token() -> str:
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """SHA-256 is enough for a secret that nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def row_of_token(conn: Connection, store: Store, wanted: Select[Any], hashes: Column[str], token: str) -> Any:
    """The row of `wanted` whose hash, in the column `hashes`, is that of a token; None where there is none, and where
    the token has expired or was revoked."""
    revoked_at = hashes.table.c.revoked_at
    row = conn.execute(wanted.where(hashes == token_hash(token), revoked_at.is_(None))).first()
    expired = row is not None and row.expires_at is not None and row.expires_at <= store.now()
    return None if expired else row


def expiry_of(store: Store, text: str | None) -> int | None:
    """`expires_at` of a request as the store keeps it; None: never.

    Raises:
        Invalid: it is not a time, or not one in the future.
    """
    if text is None:
        return None
    try:
        at = from_iso(text)
    except (ValueError, TypeError, OverflowError):
        raise Invalid("expires_at must be a time such as 2027-01-31T00:00:00Z.", param="expires_at") from None
    if at <= store.now():
        raise Invalid("expires_at is in the past.", param="expires_at")
    return at
