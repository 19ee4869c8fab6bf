"""Which records are held out: decided by the hash of a text, so the same text falls on the same side in every run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from ziggurat.records import Message

R = TypeVar("R")

FEW = 20
"""Of fewer records none is held out."""


def text_hash(text: str) -> bytes:
    """32 bytes, equal for equal texts on every machine. Halves of surrogate pairs are allowed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def falls_below(text: str, share: float) -> bool:
    """True for `share` of all texts."""
    return int.from_bytes(text_hash(text)[:4], "big") < share * 2**32


def split(records: Sequence[R], text_of: Callable[[R], str], share: float) -> tuple[list[R], list[R]]:
    """(to learn from, held out): records with equal `text_of` are never on both sides.

    Nothing is held out of fewer than FEW records, or where nothing would be left to learn from.
    """
    if share <= 0 or len(records) < FEW:
        return list(records), []
    sides: tuple[list[R], list[R]] = [], []
    for one in records:
        sides[falls_below(text_of(one), share)].append(one)
    return sides if sides[0] else (list(records), [])


def first_question(messages: Sequence[Message]) -> str:
    """The first user message; "" where there is none."""
    return next((str(m.content) for m in messages if m.role == "user"), "")
