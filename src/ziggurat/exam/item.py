"""One question as a model sees it, and what was found when a model answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ziggurat.records import Message


@dataclass(frozen=True)
class Item:
    """A row with its templates filled in.

    `messages`: the conversation that awaits an answer, for models that chat; `raw`: the same as plain text, for
    models that only continue. `choices` are continuations of either.
    """

    id: str
    messages: tuple[Message, ...] = ()
    raw: str = ""
    choices: tuple[str, ...] = ()
    target: Any = None
    """choice: the index of the right one; else what the metric compares with."""
    stratum: str = ""
    cluster: str = ""
    pair: str = ""
    row: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mark:
    """What a metric says of an answer. `scores` holds the task's main figure under `score`."""

    scores: Mapping[str, float]
    why: str = ""
    """A few words for the report: which rule failed."""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """One line of rows.jsonl: an item, what the model did, and its mark."""

    id: str
    stratum: str
    cluster: str
    pair: str
    answers: tuple[str, ...]
    mark: Mark
