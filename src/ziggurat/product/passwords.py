"""Passwords: argon2id (RFC 9106) with OWASP's minimum, 19 MiB, 2 passes, 1 lane.

A wrong password and an unknown person take the same time, since an unknown one is compared with a hash of nobody.
"""

from __future__ import annotations

import functools
import secrets
import unicodedata
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from ziggurat.product.errors import Invalid

MIN_CHARS, MAX_CHARS = 12, 1_024
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def checked_password(password: Any) -> str:
    """The password in normal form NFKC.

    Raises:
        Invalid: too short or too long.
    """
    text = unicodedata.normalize("NFKC", password) if isinstance(password, str) else ""
    if len(text) < MIN_CHARS or not text.strip():
        raise Invalid(
            f"the password has {len(text)} characters; it needs at least {MIN_CHARS}.",
            param="password",
            code="weak_password",
        )
    if len(text) > MAX_CHARS:
        raise Invalid(
            f"the password has more than {MAX_CHARS:,} characters.", param="password", code="weak_password"
        )
    return text


def hash_password(password: Any) -> str:
    """A PHC string. Takes about 20 ms and 19 MiB: call it outside a transaction."""
    return HASHER.hash(checked_password(password).encode("utf-8", "replace"))


def fits(phc: str | None, password: Any) -> bool:
    """Whether it is the password of this hash; for None as slow, and False."""
    text = unicodedata.normalize("NFKC", password) if isinstance(password, str) else ""
    if len(text) > MAX_CHARS:
        return False
    try:
        HASHER.verify(phc or _nobody(), text.encode("utf-8", "replace"))
    except (VerificationError, InvalidHashError):
        return False
    return phc is not None


def outdated(phc: str) -> bool:
    """Whether it was made with weaker settings than today's."""
    return HASHER.check_needs_rehash(phc)


@functools.cache
def _nobody() -> str:
    return HASHER.hash(secrets.token_bytes(32))
