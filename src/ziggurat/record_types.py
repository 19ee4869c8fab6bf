"""The records themselves (DESIGN section 5): what a document, demonstration, comparison, rating and prompt hold.

Rooms import them from `ziggurat.records`, which also reads and writes them.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

MIN_COMPLETIONS, MAX_COMPLETIONS = 2, 9  # K of a comparison

Role = Literal["system", "user", "assistant", "tool"]


class Record(BaseModel):
    """Base of all records: unknown fields are refused, and text is never made of numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    def to_json(self) -> dict[str, Any]:
        """The record as it is written: fields that hold nothing are left out."""
        return self.model_dump(mode="json", exclude_none=True)


class Message(Record):
    """One turn. `weight` 0 keeps an assistant message in view but out of training."""

    role: Role
    content: str = ""
    weight: Literal[0, 1] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _content_given(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("content") is None:
            if not value.get("tool_calls"):
                raise ValueError("a message needs content (only one with tool_calls may leave it out)")
            return {**value, "content": ""}
        return value


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

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))

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

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))


class Prompt(Record):
    """A conversation that waits for an answer."""

    prompt: list[Message]
    meta: dict[str, Any] | None = None

    _prompt = field_validator("prompt")(staticmethod(_must_await_answer))


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
