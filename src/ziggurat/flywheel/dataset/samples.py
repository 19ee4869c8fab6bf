"""A sample: one training record made from one judgement, with what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from ziggurat.files import to_json

Kind = Literal["demonstration", "comparison", "rating", "prompt"]
Split = Literal["train", "held_out_person", "held_out_time"]

REASONS = {
    "no_training_use": "this kind of judgement, or this answer of it, trains nothing",
    "gold": "a gold, training or test item",
    "no_data_use": "the conversation may not be used (its switch is off, or it is in the trash)",
    "no_consent": 'the person does not agree to "improve_model" now',
    "withdrawn": "the chat that it was made from is gone",
    "conflicted": "labellers disagree, and nobody has decided yet",
    "overruled": "an adjudication or a review took the place of this answer",
    "in_a_rewrite": "a thumb down whose person wrote a better answer: the pair is used",
    "unfinished": "the answer failed, was stopped or ended at the length limit",
    "tie": "nothing is better than another",
    "leaked": "an answer said which model wrote it",
    "unusable": "the conversation is not a valid record",
    "private_data": "it holds an e-mail address, a phone, identity or card number",
    "moderated": "the moderation rules flag what the person wrote",
    "exam": "it shares 13 words in a row, or a whole short question, with an exam",
    "duplicate": "the same record is there already",
    "near_duplicate": "its prompt shares a long beginning with another prompt",
    "quarantined": "the person's judgements are in quarantine",
    "unreliable": "the label is more likely wrong than right",
    "person_cap": "more prompts than one person may give",
    "topic_cap": "more approved answers of one topic than the cap",
    "shared_prompt": "a held-out person's judgement of a prompt that is trained on",
}
"""Why a judgement, or a record of it, is left out."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    kind: Kind
    record: dict[str, Any]
    """In the form of the design, section 5, without labeller and weight."""
    judgement_id: str
    person_id: str
    source: str
    """The kind of judgement, or of a decision: thumb pick approve edit ..."""
    judged_at: int
    basis: str
    weak: bool = False
    """An end user's thumb, a program's metric: counted less, and never mixed in without this flag."""
    weight: float = 1.0
    probability: float | None = None
    """That the label is right, by the model of reliability."""
    consent_id: str | None = None
    chat_id: str | None = None
    model: str | None = None
    lang: str | None = None
    topic: str | None = None
    person: str = ""
    """The pseudonym."""
    split: Split = "train"
    shown: tuple[str, ...] = ()
    """Of a comparison: ids of the completions in the order of the screen."""
    ids: tuple[str, ...] = ()
    """Of a comparison: ids of its completions."""
    seconds: float | None = None

    @property
    def prompt(self) -> list[dict[str, Any]]:
        """The conversation before the answer."""
        if self.kind != "demonstration":
            return list(self.record["prompt"])
        turns = self.record["messages"]
        last = max((i for i, turn in enumerate(turns) if turn["role"] == "user"), default=len(turns) - 2)
        return list(turns[: last + 1])

    @property
    def prompt_key(self) -> str:
        return to_json(self.prompt)

    @property
    def question(self) -> str:
        """What was asked last."""
        return next((one["content"] for one in reversed(self.prompt) if one["role"] == "user"), "")

    def with_(self, **changes: Any) -> Sample:
        return replace(self, **changes)

    def texts(self) -> list[str]:
        """Every text in it, each message apart."""
        found: list[str] = []
        _collect(self.record, found)
        return found


def _collect(value: Any, found: list[str]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("content", "reasoning_content", "arguments") and isinstance(inner, str):
                found.append(inner)
            elif isinstance(inner, dict | list) and name != "sampling":
                _collect(inner, found)
            elif name == "completion" and isinstance(inner, str):
                found.append(inner)
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, str):
                found.append(inner)
            else:
                _collect(inner, found)


class LeftOut(NamedTuple):
    """A judgement, or one record of it, that is not used."""

    judgement_id: str
    reason: str
    kind: str
    person_id: str


@dataclass
class Taken:
    """Samples that are kept, and what was left out on the way."""

    samples: list[Sample] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    agreement: dict[str, Any] = field(default_factory=dict)
    """Of everything that was read, before anything was left out for its worth."""

    def drop(self, sample: Sample, reason: str) -> None:
        self.left_out.append(LeftOut(sample.judgement_id, reason, sample.kind, sample.person_id))

    def keep_if(self, reason: str, keeps: Callable[[Sample], bool]) -> None:
        """Leave out the samples that `keeps` refuses."""
        kept = []
        for sample in self.samples:
            if keeps(sample):
                kept.append(sample)
            else:
                self.drop(sample, reason)
        self.samples = kept
