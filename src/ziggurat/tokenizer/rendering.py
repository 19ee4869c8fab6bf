"""Records to token ids, with one policy for records that cannot be used.

    rendered = render_all(template, demonstrations, longest=512)
    for record, conversations in rendered: ...

A record that is too long is left out, and so is one that trains nothing. A record that the chat template refuses is an
error, unless `skip` leaves it out as well. Each record that is left out is counted by reason, and file and line of the
first are named. A record renders to one conversation; a comparison to one for each completion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ziggurat.errors import DataError
from ziggurat.records import (
    Comparison,
    Demonstration,
    Message,
    Prompt,
    Rating,
    Record,
    completion_messages,
)
from ziggurat.tokenizer.template import ChatTemplate, Rendered

R = TypeVar("R", bound=Record)

Conversation = tuple[list[Message], list[dict[str, Any]] | None]
"""Messages, and the tools that the template shows with them."""


@dataclass
class LeftOut:
    """Records that were left out: how many for each reason, and which."""

    reasons: Counter[str] = field(default_factory=Counter)
    records: list[tuple[Record, str]] = field(default_factory=list)
    """Each record with the sentence that says why, place included."""

    def add(self, record: Record, number: int, reason: str, detail: str = "") -> None:
        self.reasons[reason] += 1
        self.records.append((record, f"{place_of(record, number)}: {detail or reason}"))

    def __bool__(self) -> bool:
        return bool(self.records)

    def summary(self, of: int) -> str:
        """`2 of 80 records left out: longer than 512 tokens (2); the first: chats.jsonl line 7: ...`"""
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in self.reasons.most_common())
        return (
            f"{len(self.records):,} of {of:,} records left out: {reasons}; the first: {self.records[0][1]}."
        )


@dataclass
class RenderedRecords(Generic[R]):
    """The records that can be used, with their conversations as ids, and what was left out."""

    records: list[R]
    conversations: list[list[Rendered]]
    left_out: LeftOut

    def __iter__(self) -> Iterator[tuple[R, list[Rendered]]]:
        return iter(zip(self.records, self.conversations, strict=True))

    @property
    def flat(self) -> list[Rendered]:
        """The first conversation of each record: all there is, except of comparisons."""
        return [rendered[0] for rendered in self.conversations]


def render_all(
    template: ChatTemplate,
    records: Sequence[R],
    *,
    longest: int | None = None,
    skip: bool = False,
    to_answer_end: bool = False,
    what: str = "record",
) -> RenderedRecords[R]:
    """Render all records by one policy; see the head of this file.

    `longest`: tokens that a conversation (or a prompt) may have. `skip`: leave out records that the template refuses.
    A record without a trained token after the first is left out, unless it is a prompt.
    `to_answer_end`: cut each conversation after its last trained token, where a reward is read.
    DataError names file and line of a record that the template refuses, and says why where none is left.
    """
    each = [conversations_of(record) for record in records]
    prompts = bool(records) and isinstance(records[0], Prompt)
    flat = [one for conversations in each for one in conversations]
    made = iter(template.try_many(flat, add_generation_prompt=prompts))
    kept = RenderedRecords[R]([], [], LeftOut())
    for number, (record, conversations) in enumerate(zip(records, each, strict=True), 1):
        rendered, errors = list[Rendered](), list[DataError]()
        for one in (next(made) for _ in conversations):
            if isinstance(one, DataError):
                errors.append(one)
            else:
                rendered.append(_to_answer_end(one) if to_answer_end else one)
        if errors and not skip:
            raise _refused(record, number, what, errors[0])
        if errors:
            kept.left_out.add(record, number, "refused by the chat template", errors[0].reason)
        elif longest is not None and (most := max(len(one.ids) for one in rendered)) > longest:
            reason = f"longer than {longest:,} tokens"
            kept.left_out.add(record, number, reason, f"has {most:,} tokens, and at most {longest:,} fit")
        elif not prompts and not all(any(one.mask[1:]) for one in rendered):
            kept.left_out.add(record, number, "no trained answer: every assistant message has weight 0")
        else:
            kept.records.append(record)
            kept.conversations.append(rendered)
    if records and not kept.records:
        raise DataError(
            f"none of the {len(records):,} {what}s can be used: {kept.left_out.summary(len(records))}"
        )
    return kept


def conversations_of(record: Record) -> list[Conversation]:
    """What there is to render of a record: one conversation, or one for each completion of a comparison."""
    if isinstance(record, Demonstration):
        return [(record.messages, record.tools)]
    if isinstance(record, Prompt):
        return [(record.prompt, record.tools)]
    if isinstance(record, Rating):
        return [([*record.prompt, *completion_messages(record.completion)], record.tools)]
    if isinstance(record, Comparison):
        return [([*record.prompt, *completion_messages(one)], record.tools) for one in record.completions]
    raise TypeError(f"a {type(record).__name__.lower()} holds no conversation")


def place_of(record: Record, number: int) -> str:
    """Where a record is, for people: `chats.jsonl line 7`, or `record 7` for one that came from no file."""
    origin = record.origin
    return f"{origin.path} line {origin.line}" if origin else f"record {number}"


def _to_answer_end(one: Rendered) -> Rendered:
    end = max((i for i, flag in enumerate(one.mask) if flag), default=len(one.ids) - 1) + 1
    return replace(one, ids=one.ids[:end], mask=one.mask[:end])


def _refused(record: Record, number: int, what: str, error: DataError) -> DataError:
    sentence = f"{error.reason.rstrip('.')}; --skip-bad-rows leaves such rows out."
    return record.origin.error(sentence) if record.origin else DataError(f"{what} {number}: {sentence}")
