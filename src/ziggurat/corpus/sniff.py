"""What is in this file? Answered from its name and its first rows.

A file is **native** when it is JSON Lines or Parquet and its first row has the telling fields of one of our records;
native files are read strictly. Any other format is chosen by many rows: rows with the same fields are one group, a
group has the first format that recognises any of its rows, and the largest group decides. A null in one row therefore
does not make the file something else.

Another package adds a format by an entry point of the group `ziggurat.formats` that names a `Format`
(docs/extending.md). Its formats are tried before the built-in ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from ziggurat.corpus.formats.alpaca import ALPACA, ALPACA_PREFERENCE, ALPACA_RATING, SELF_INSTRUCT
from ziggurat.corpus.formats.cells import ROLES
from ziggurat.corpus.formats.common import Format
from ziggurat.corpus.formats.hh import HH
from ziggurat.corpus.formats.native import NATIVE_COMPARISON, NATIVE_PROMPT, NATIVE_RATING
from ziggurat.corpus.formats.oasst import OASST, OASST_MESSAGES
from ziggurat.corpus.formats.openai import OPENAI, OPENAI_RATING, is_messages
from ziggurat.corpus.formats.question_answer import QUESTION_ANSWER
from ziggurat.corpus.formats.sharegpt import SHAREGPT, SHAREGPT_COMPARISON, SHAREGPT_RATING
from ziggurat.corpus.formats.trl import TRL_COMPLETION, TRL_PREFERENCE, TRL_PROMPT, TRL_RATING
from ziggurat.corpus.rows import Row, is_array, kind_of, read_rows
from ziggurat.data_files import open_text
from ziggurat.errors import DataError
from ziggurat.extensions import load_all
from ziggurat.messages import MESSAGE_KEYS
from ziggurat.records import Comparison, Demonstration, Document, Prompt, Rating, Record, is_near

# The first that recognises a row wins, so the more particular come first.
BUILT_IN: tuple[Format, ...] = (
    OASST, OASST_MESSAGES,
    NATIVE_COMPARISON, NATIVE_RATING,
    SHAREGPT_COMPARISON, SHAREGPT_RATING, SHAREGPT,
    OPENAI_RATING, ALPACA_PREFERENCE, ALPACA_RATING, HH, TRL_PREFERENCE, TRL_RATING, TRL_COMPLETION, OPENAI,
    ALPACA, SELF_INSTRUCT, QUESTION_ANSWER,
    NATIVE_PROMPT, TRL_PROMPT,
)  # fmt: skip

GROUP = "ziggurat.formats"
"""Of the entry points."""
ROW_KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT_COLUMNS = ("text", "content", "body", "article", "markdown", "code", "lines", "paragraphs")
_NATIVE_KINDS = (".jsonl", ".ndjson", ".parquet")
_TABLES = (".csv", ".tsv", ".parquet")  # every row has every column
_LOOKED_AT = 500  # rows
IMPORTED = frozenset({"system", "functions", "kto_tag", "conversations"})
"""Fields that no record of ours has and that an importer uses."""
ALIASES = frozenset(ROLES) - {"system", "developer", "user", "assistant", "tool"}


@dataclass(frozen=True)
class Sniffed:
    """`native` is the record class of a native file; `format` reads the rows of another; neither: raw text."""

    name: str
    native: type[Record] | None = None
    format: Format | None = None
    text_column: str | None = None


@cache
def formats() -> tuple[Format, ...]:
    """Every format: those of other packages, then the built-in ones."""
    names = {format.name for format in BUILT_IN}

    def refuse(_: str, format: Format) -> str | None:
        if format.name in names:
            return f'is a second format of the name "{format.name}"'
        if bool(format.suffixes) != (format.rows is not None):
            return "has only one of `suffixes` and `rows`; a format has both or none"
        names.add(format.name)
        return None

    return (*load_all(GROUP, Format, refuse).values(), *BUILT_IN)


def format_of_suffix(path: Path) -> Format | None:
    """The format of another package that reads every file with this suffix."""
    return next((format for format in formats() if kind_of(path) in format.suffixes), None)


def sniff(path: Path) -> Sniffed:
    """Recognise a file of rows; a file whose rows are nothing we know is an error that shows its fields."""
    open_text(path).close()  # missing, a folder, not readable: said here, in one sentence
    if (own := format_of_suffix(path)) is not None:
        return Sniffed(own.name, format=own)
    if kind_of(path) not in ROW_KINDS:
        return Sniffed("raw text")
    rows: list[Row] = []
    try:
        rows.extend(row for _, row in islice(read_rows(path), _LOOKED_AT))
    except DataError:
        if not rows:
            raise  # otherwise the reader meets the broken row again, and names it or sets it aside
    first = rows[0]
    if kind_of(path) == ".parquet" or (kind_of(path) in _NATIVE_KINDS and not is_array(path)):
        for kind in (Comparison, Rating, Demonstration, Prompt, Document):
            if _is_native(rows, kind):
                return Sniffed(kind.__name__.lower(), native=kind)
    if (found := _format_of(rows, one_schema=kind_of(path) in _TABLES)) is not None:
        return Sniffed(found.name, format=found)
    columns = [name for name in TEXT_COLUMNS if _is_text(first.get(name))]
    if columns:
        return Sniffed(f'rows with "{columns[0]}"', text_column=columns[0])
    raise DataError(
        f"rows with the fields {', '.join(map(str, first))} are no format known here; "
        "docs/data.md shows each format with an example.",
        path=path,
        line=1,
    )


def _format_of(rows: list[Row], *, one_schema: bool) -> Format | None:
    """The format of the largest group of rows; see the head of this file."""
    groups: dict[frozenset[str], list[Row]] = {}
    known = [format for format in formats() if not format.suffixes]
    for row in rows:
        groups.setdefault(frozenset() if one_schema else frozenset(row), []).append(row)
    votes: Counter[int] = Counter()
    for group in groups.values():
        number = next((i for i, f in enumerate(known) if any(map(f.recognises, group))), None)
        if number is not None:
            votes[number] += len(group)
    return known[min(votes, key=lambda i: (-votes[i], i))] if votes else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(part, str) for part in value)
    )


def _is_native(rows: list[Row], kind: type[Record]) -> bool:
    """Whether the first row was meant as this record, and no row has fields or roles that only an importer reads."""
    first = rows[0]
    keys = set(first)
    if kind is Comparison:  # no other format has both words
        return bool({"completions", "ranks"} & keys) and "prompt" in keys
    if any(IMPORTED & set(row) for row in rows):
        return False
    if kind is Rating:
        telling = {"prompt", "completion", "label"} <= keys and isinstance(first["prompt"], list)
    elif kind is Demonstration:
        turns = first.get("messages")
        telling = (
            is_messages(turns) and "label" not in keys and all(_fits(t, MESSAGE_KEYS) for t in turns or [])
        )
        telling = telling and not any(_has_other_roles(row.get("messages")) for row in rows)
    elif kind is Prompt:
        telling = is_messages(first.get("prompt")) and not {"chosen", "rejected", "completion"} & keys
    else:
        telling = isinstance(first.get("text"), str)
    return telling and _fits(first, kind.model_fields)


def _fits(row: Row, fields: Iterable[str]) -> bool:
    """Whether every field is known, or so near to a known one that it is a misspelling to be named."""
    absent = frozenset(fields) - set(row)
    return all(key in fields or is_near(key, absent) for key in row)


def _has_other_roles(turns: Any) -> bool:
    return is_messages(turns) and any(str(turn["role"]) in ALIASES for turn in turns)
