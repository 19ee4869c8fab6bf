"""Secrets that are shown once: 256 random bits, of which the store keeps a hash."""

from __future__ import annotations

import hashlib
import secrets


def new_token() -> str:
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """SHA-256 is enough for a secret that nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
