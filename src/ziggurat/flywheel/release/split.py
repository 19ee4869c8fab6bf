"""Which of two releases answers a person: by a hash of the person and the split's name, so that it stays the same."""

from __future__ import annotations

import hashlib


def takes_canary(person: str, split: str, share: float) -> bool:
    """Whether this person is among the share. A person among a smaller share is among every greater one.

    >>> [takes_canary(who, "test", 0.5) for who in ("ana", "bo", "chen", "dora")]
    [False, False, False, True]
    """
    return place(person, split) < share


def place(person: str, split: str) -> float:
    """Evenly spread over [0, 1)."""
    digest = hashlib.sha256(f"{split}\0{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
