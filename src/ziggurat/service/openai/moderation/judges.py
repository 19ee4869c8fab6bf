"""Who judges a text, and how several judges become one answer.

OpenAI has thirteen categories; a judge says which of them it judges. A category that no judge covers is told as such:
its list of applied input types is empty, and `not_judged` names it. Its `false` then means that nobody looked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

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


class Judge(Protocol):
    """One layer. It is asked on a thread of its own, and by several at once."""

    @property
    def name(self) -> str: ...
    @property
    def categories(self) -> frozenset[str]:
        """Those that it judges now."""

    def judge(self, texts: Sequence[str]) -> list[Mapping[str, Verdict]]:
        """For each text a verdict on each category that it judges."""

    @property
    def trouble(self) -> str | None:
        """What an operator should know: it judges by older rules than it should, and why."""


def plain(text: str) -> str:
    """Text without disguise: full-width letters become letters, invisible characters go (UAX #15, NFKC)."""
    seen = "".join(c for c in text if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", seen)


class Moderator:
    """All judges. The highest score of a category counts, and whatever one judge flags is flagged."""

    def __init__(self, judges: Sequence[Judge]) -> None:
        self.judges = tuple(judges)

    @property
    def name(self) -> str:
        return "ziggurat/" + "+".join(judge.name for judge in self.judges)

    def status(self) -> dict[str, str]:
        """Of each layer, for operators; why one is stale stands in the log."""
        return {judge.name: "ok" if judge.trouble is None else "stale" for judge in self.judges}

    def judge(self, texts: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """(one result a text in OpenAI's shape, the categories that nobody judged)."""
        told = [judge.judge(texts) for judge in self.judges]
        results, judged = [], set[str]()
        for i in range(len(texts)):
            verdicts = [layer[i] for layer in told]
            judged |= {category for one in verdicts for category in one}
            results.append(_result(verdicts))
        return results, [category for category in CATEGORIES if category not in judged]


def _result(verdicts: Sequence[Mapping[str, Verdict]]) -> dict[str, Any]:
    by_category = {c: [one[c] for one in verdicts if c in one] for c in CATEGORIES}
    flags = {c: any(verdict.flagged for verdict in found) for c, found in by_category.items()}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {
            c: max((verdict.score for verdict in found), default=0.0) for c, found in by_category.items()
        },
        "category_applied_input_types": {c: ["text"] if found else [] for c, found in by_category.items()},
    }
