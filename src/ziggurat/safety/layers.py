"""OpenAI's thirteen categories, and the protocol of a layer that judges texts in some of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)


class Verdict(NamedTuple):
    score: float  # 0 to 1
    flagged: bool


class Layer(Protocol):
    """One way to judge texts. Several threads call it at once."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> frozenset[str]:
        """The categories that it judges now."""

    def classify(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        """For each text a verdict on each of its categories."""

    @property
    def trouble(self) -> str | None:
        """Why it judges by outdated rules; None if it does not."""


def plain(text: str) -> str:
    """Text in normal form NFKC (UAX #15) without invisible characters; full-width letters become ordinary ones."""
    if text.isascii():
        return text
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", seen)
