"""The records of data files (DESIGN section 5): document, demonstration, comparison, rating and prompt.

Other rooms import them from `ziggurat.records`, which also reads and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from ziggurat.errors import DataError
from ziggurat.messages import Message, Strict, parse_tools

MIN_COMPLETIONS, MAX_COMPLETIONS = 2, 9  # K of a comparison


@dataclass(frozen=True, slots=True)
class Origin:
    """The file and the line (1-based; the row number in an array or a Parquet file) that a record came from."""

    path: Path
    line: int

    def error(self, reason: str) -> DataError:
        """A DataError that names this place."""
        return DataError(reason, path=self.path, line=self.line)


class Record(Strict):
    """Base of all records. `origin` is not part of the data: it is neither written nor compared."""

    _origin: Origin | None = PrivateAttr(default=None)

    @property
    def origin(self) -> Origin | None:
        """The place in a file that the record was read from; None for a record made in memory."""
        return self._origin

    def at(self, origin: Origin | None) -> Self:
        """Set the origin; returns the record itself."""
        self._origin = origin
        return self

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]


class Document(Record):
    """One piece of raw text."""

    text: str
    source: str = ""
    license: str | None = None
    lang: str | None = None
    meta: dict[str, Any] | None = None


def _must_await_answer(messages: list[Message]) -> list[Message]:
    if not messages:
        raise ValueError("expected at least one message, found none")
    if messages[-1].role not in ("user", "tool"):
        raise ValueError(
            f"a prompt must end on a user (or tool) message, this one ends on {messages[-1].role!r}"
        )
    return messages


class Demonstration(Record):
    """A conversation whose assistant messages are to be imitated."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None = None
    source: str | None = None
    labeller: str | None = None
    weight: float | None = Field(default=None, gt=0)
    """How much it counts in a loss, beside others; None: 1."""

    _tools = field_validator("tools", mode="before")(staticmethod(parse_tools))

    @field_validator("messages")
    @classmethod
    def _ends_on_the_assistant(cls, messages: list[Message]) -> list[Message]:
        if not messages:
            raise ValueError("expected at least one message, found none")
        if messages[-1].role != "assistant":
            raise ValueError(
                f"a demonstration must end on the assistant, this one ends on {messages[-1].role!r}"
            )
        return messages


class Comparison(Record):
    """One prompt with K completions ranked by one labeller; rank 1 is best, equal ranks are ties."""

    id: str
    prompt: list[Message]
    completions: list[str | list[Message]]
    ranks: list[int]
    labeller: str | None = None
    policy: str | None = None
    sampling: dict[str, Any] | None = None
    source: str | None = None
    tools: list[dict[str, Any]] | None = None
    weight: float | None = Field(default=None, gt=0)
    """How much it counts in a loss, beside others; None: 1."""

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))
    _tools = field_validator("tools", mode="before")(staticmethod(parse_tools))

    @field_validator("completions")
    @classmethod
    def _number_of_completions(cls, completions: list[str | list[Message]]) -> list[str | list[Message]]:
        if not MIN_COMPLETIONS <= len(completions) <= MAX_COMPLETIONS:
            raise ValueError(
                f"expected {MIN_COMPLETIONS} to {MAX_COMPLETIONS} completions to compare, found {len(completions)}"
            )
        for number, completion in enumerate(completions, 1):
            if not isinstance(completion, str) and (not completion or completion[-1].role != "assistant"):
                raise ValueError(f"completion {number} must be text or messages that end on the assistant")
        return completions

    @model_validator(mode="after")
    def _ranks_match(self) -> Comparison:
        check_ranks(self.ranks, len(self.completions))
        return self


class Rating(Record):
    """A thumb up (true) or down (false) for one completion."""

    prompt: list[Message]
    completion: str | list[Message]
    label: bool
    labeller: str | None = None
    source: str | None = None
    tools: list[dict[str, Any]] | None = None
    weight: float | None = Field(default=None, gt=0)
    """How much it counts in a loss, beside others; None: 1."""

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))
    _tools = field_validator("tools", mode="before")(staticmethod(parse_tools))


class Prompt(Record):
    """A conversation that waits for an answer."""

    prompt: list[Message]
    meta: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))
    _tools = field_validator("tools", mode="before")(staticmethod(parse_tools))

    @model_validator(mode="before")
    @classmethod
    def _tools_from_meta(cls, value: Any) -> Any:
        """Older files hold the tools inside `meta`."""
        meta = value.get("meta") if isinstance(value, dict) else None
        if not isinstance(meta, dict) or "tools" not in meta or value.get("tools"):
            return value
        rest = {key: item for key, item in meta.items() if key != "tools"}
        return {**value, "meta": rest or None, "tools": meta["tools"]}


def check_ranks(ranks: list[int], k: int) -> None:
    """Ranks of K completions, ties counted densely (1,2,2,3) or as in a race (1,2,2,4); else ValueError."""
    if len(ranks) != k:
        raise ValueError(f"expected one rank for each of {k} completions, found {len(ranks)} ranks")
    dense = {rank: place for place, rank in enumerate(sorted(set(ranks)), 1)}
    race = {rank: 1 + sum(other < rank for other in ranks) for rank in ranks}
    if all(dense[r] == r for r in ranks) or all(race[r] == r for r in ranks):
        return
    example = [race[r] for r in ranks]
    raise ValueError(
        f"ranks start at 1 and leave no gap except after ties: {ranks} should be written {example}"
    )
