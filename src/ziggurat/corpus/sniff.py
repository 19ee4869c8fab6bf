"""What is in this file? Answered from its name and its first rows, never from a registry that people must edit.

A file is **native** when it is JSON Lines or Parquet and its rows have the shape of our own records; native files are
read strictly. A field that is nearly one of ours ("labeler") keeps a file native, so that the misspelling is named
instead of being ignored.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ziggurat.corpus.formats.alpaca import ALPACA, ALPACA_PREFERENCE, SELF_INSTRUCT
from ziggurat.corpus.formats.common import Format
from ziggurat.corpus.formats.hh import HH
from ziggurat.corpus.formats.native import NATIVE_COMPARISON, NATIVE_PROMPT, NATIVE_RATING
from ziggurat.corpus.formats.oasst import OASST, OASST_MESSAGES
from ziggurat.corpus.formats.openai import OPENAI, OPENAI_RATING, is_messages
from ziggurat.corpus.formats.question_answer import QUESTION_ANSWER
from ziggurat.corpus.formats.sharegpt import SHAREGPT, SHAREGPT_COMPARISON, SHAREGPT_RATING
from ziggurat.corpus.formats.trl import TRL_COMPLETION, TRL_PREFERENCE, TRL_PROMPT, TRL_RATING
from ziggurat.corpus.rows import Row, kind_of, read_rows
from ziggurat.errors import DataError
from ziggurat.records import Comparison, Demonstration, Document, Message, Prompt, Rating, Record, open_text

# The first that recognises a row wins, so the more particular come first.
FORMATS: tuple[Format, ...] = (
    OASST, OASST_MESSAGES,
    NATIVE_COMPARISON, NATIVE_RATING,
    SHAREGPT_COMPARISON, SHAREGPT_RATING, SHAREGPT,
    OPENAI_RATING, ALPACA_PREFERENCE, HH, TRL_PREFERENCE, TRL_RATING, TRL_COMPLETION, OPENAI,
    ALPACA, SELF_INSTRUCT, QUESTION_ANSWER,
    NATIVE_PROMPT, TRL_PROMPT,
)  # fmt: skip

ROW_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT_COLUMNS = ("text", "content", "body", "article", "markdown", "code", "lines", "paragraphs")
_NATIVE_KINDS = (".jsonl", ".ndjson", ".parquet")
_LOOKED_AT = 20  # rows


@dataclass(frozen=True)
class Sniffed:
    """`native` is the record class of a native file; `format` reads the rows of another; neither: raw text."""

    name: str
    native: type[Record] | None = None
    format: Format | None = None
    text_column: str | None = None


def sniff(path: Path) -> Sniffed:
    """Recognise a file of rows; a file whose rows are nothing we know is an error that shows its fields."""
    open_text(path).close()  # missing, a folder, not readable: said here, in one sentence
    if kind_of(path) not in ROW_KINDS:
        return Sniffed("raw text")
    rows: list[Row] = []
    try:
        rows.extend(row for _, row in islice(read_rows(path), _LOOKED_AT))
    except DataError:
        if not rows:
            raise  # otherwise the reader meets the broken row again, and names it or sets it aside
    first = rows[0]
    if kind_of(path) in _NATIVE_KINDS:
        for kind in (Comparison, Rating, Demonstration, Prompt, Document):
            if _is_native(first, kind):
                return Sniffed(kind.__name__.lower(), native=kind)
    for row in rows:  # the first row may be the odd one
        for format in FORMATS:
            if format.recognises(row):
                return Sniffed(format.name, format=format)
    columns = [name for name in TEXT_COLUMNS if _is_text(first.get(name))]
    if columns:
        return Sniffed(f'rows with "{columns[0]}"', text_column=columns[0])
    raise DataError(
        f"rows with the fields {', '.join(map(str, first))} are no format known here; "
        "docs/data.md shows each format with an example.",
        path=path,
        line=1,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(part, str) for part in value)
    )


def _is_native(row: Row, kind: type[Record]) -> bool:
    """Whether a row was meant as this record: its telling fields are there, and no field is quite foreign."""
    keys = set(row)
    if kind is Comparison:  # nobody else has both words
        return bool({"completions", "ranks"} & keys) and "prompt" in keys
    if kind is Rating:
        telling = {"prompt", "completion", "label"} <= keys and isinstance(row["prompt"], list)
    elif kind is Demonstration:
        turns = row.get("messages")
        telling = (
            is_messages(turns) and "label" not in keys and all(_fits(turn, Message) for turn in turns or [])
        )
    elif kind is Prompt:
        telling = is_messages(row.get("prompt")) and not {"chosen", "rejected", "completion"} & keys
    else:
        telling = isinstance(row.get("text"), str)
    return telling and _fits(row, kind)


def _fits(row: Row, kind: type[Record]) -> bool:
    fields = set(kind.model_fields)
    absent = fields - set(row)
    return all(key in fields or difflib.get_close_matches(key, absent, n=1, cutoff=0.8) for key in row)
