"""The data files (DESIGN section 5): their records, and a strict reader and writer.

One record a line of JSON (`.jsonl`, also `.gz` and `.zst`) or one row of Parquet. Native files are strict: the first
bad row is an error that names file, line, field and what was expected; with `skip_bad_rows` it is counted and kept
aside. A field that resembles no field of the record is left out and counted; a misspelt field is an error. Files of
other shapes are recognised and imported by `corpus`, not here.
"""

from __future__ import annotations

import difflib
import gzip
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import ValidationError

from ziggurat.console import err
from ziggurat.data_files import Notes, load_line, parquet_rows, text_lines
from ziggurat.errors import DataError, did_you_mean
from ziggurat.files import replacing, to_json
from ziggurat.messages import (
    MESSAGE_KEYS,
    Message,
    Part,
    Reasoning,
    Role,
    TextPart,
    completion_messages,
    split_reasoning,
)
from ziggurat.record_types import (
    MAX_COMPLETIONS,
    MIN_COMPLETIONS,
    Comparison,
    Demonstration,
    Document,
    Origin,
    Prompt,
    Rating,
    Record,
    check_ranks,
)

__all__ = [
    "MAX_COMPLETIONS",
    "MIN_COMPLETIONS",
    "Comparison",
    "Demonstration",
    "Document",
    "Message",
    "Notes",
    "Origin",
    "Part",
    "Prompt",
    "Rating",
    "Reasoning",
    "Record",
    "Reject",
    "Role",
    "TextPart",
    "check_ranks",
    "completion_messages",
    "is_near",
    "read_records",
    "split_reasoning",
    "write_records",
]

PARQUET_SUFFIX = ".parquet"
_JSON_COLUMNS = ("meta", "tools", "tool_calls", "sampling")  # free-form: JSON text in a Parquet cell

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Reject:
    """A row set aside by `skip_bad_rows`: its line (1-based), the error, and the row as it was."""

    line: int
    reason: str
    row: str


def read_records(
    path: str | Path,
    kind: type[R],
    *,
    skip_bad_rows: bool = False,
    rejects: list[Reject] | None = None,
    notes: Notes | None = None,
) -> Iterator[R]:
    """Yield the records of a native file; a bad row raises DataError, or goes to `rejects` with `skip_bad_rows`.

    `notes` counts mended rows and fields that were not used.
    """
    path = Path(path)
    aside: list[Reject] = [] if rejects is None else rejects
    notes = Notes() if notes is None else notes
    before, count = len(aside), 0
    for line, row in _rows(path):
        try:
            record = _parse(path, line, row, kind, notes)
        except DataError as error:
            if not skip_bad_rows:
                raise
            aside.append(Reject(line, str(error), repr(row)))
            continue
        count += 1
        yield record
    skipped = len(aside) - before
    if skipped:
        err.print(
            f"{path}: skipped {skipped} bad of {skipped + count} rows; the first: {aside[before].reason}"
        )
    if not count:
        what = "no usable record" if skipped else "the file is empty"
        raise DataError(f"{what}; expected at least one {kind.__name__.lower()}.", path=path)


def _rows(path: Path) -> Iterator[tuple[int, bytes | dict[str, Any]]]:
    """(line or row number, raw row); JSON is parsed later so that `skip_bad_rows` can leave a broken line out."""
    if path.suffix == PARQUET_SUFFIX:
        return ((number, _from_cells(row)) for number, row in parquet_rows(path))
    return text_lines(path)


def _from_cells(value: Any) -> Any:
    """Undo `_to_cells`: JSON text in the free-form columns."""
    if isinstance(value, dict):
        mixed = (*_JSON_COLUMNS, "completions")
        return {
            key: _json_or_text(item) if key in mixed and isinstance(item, str) else _from_cells(item)
            for key, item in value.items()
        }
    return [_from_cells(item) for item in value] if isinstance(value, list) else value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


@lru_cache(1024)
def is_near(key: str, absent: frozenset[str]) -> bool:
    """Whether a key looks like a misspelling of a field that is not there."""
    return bool(difflib.get_close_matches(key, absent, n=1, cutoff=0.75))


def _without_unknown(row: dict[str, Any], known: Iterable[str], prefix: str, notes: Notes) -> dict[str, Any]:
    """The row without fields that resemble none of `known`; a field that looks misspelt stays, and is refused later.

    >>> _without_unknown({"text": "a", "url": "b"}, ("text",), "", Notes())
    {'text': 'a'}
    """
    absent = frozenset(known) - set(row)
    kept = {}
    for key, value in row.items():
        if key in known or is_near(key, absent):
            kept[key] = value
        elif value is not None:
            notes.unused[f"{prefix}{key}"] += 1
    for name in ("messages", "prompt", "completion"):
        if name in kept:
            kept[name] = _messages_without_unknown(kept[name], f"{prefix}{name}", notes)
    if isinstance(kept.get("completions"), list):
        kept["completions"] = [
            _messages_without_unknown(one, f"{prefix}completions[]", notes) for one in kept["completions"]
        ]
    return kept


def _extras_in_meta(row: dict[str, Any], kind: type[Record]) -> dict[str, Any]:
    """Further fields of a document or a prompt belong to its `meta`, as they do in files of other formats."""
    absent = frozenset(kind.model_fields) - set(row)
    extras = {k: v for k, v in row.items() if k not in kind.model_fields and not is_near(k, absent)}
    if not extras or not isinstance(row.get("meta", {}), dict):
        return row
    kept = {key: value for key, value in row.items() if key not in extras}
    return {**kept, "meta": {**row.get("meta", {}), **extras}}


def _messages_without_unknown(value: Any, prefix: str, notes: Notes) -> Any:
    if not isinstance(value, list):
        return value
    return [
        _without_unknown(turn, MESSAGE_KEYS, f"{prefix}[].", notes) if isinstance(turn, dict) else turn
        for turn in value
    ]


def _parse(path: Path, line: int, row: bytes | dict[str, Any], kind: type[R], notes: Notes) -> R:
    value: Any = load_line(row, path, line, notes) if isinstance(row, bytes) else row
    if not isinstance(value, dict):
        raise DataError(
            f"expected one {kind.__name__.lower()} as a JSON object, found {type(value).__name__}.",
            path=path,
            line=line,
        )
    if kind in (Document, Prompt):
        value = _extras_in_meta(value, kind)
    try:
        record = kind.model_validate(_without_unknown(value, kind.model_fields, "", notes))
    except ValidationError as error:
        raise _row_error(path, line, kind, error) from error
    if isinstance(record, Comparison) and record.labeller is None:
        record.labeller = f"import:{path.name}"
    return record.at(Origin(path, line))


def _row_error(path: Path, line: int, kind: type[Record], error: ValidationError) -> DataError:
    """The first problem of a row, with the field as people write it: messages[1].role."""
    detail = error.errors()[0]
    field = ""
    for part in detail["loc"]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif not part[:1].isupper() and "[" not in part and part != "str":  # else a tag of a union member
            field += f".{part}" if field else part
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "missing":
        message = f"is missing; a {kind.__name__.lower()} needs it"
    elif detail["type"] == "extra_forbidden":
        message = "unknown field." + did_you_mean(str(detail["loc"][-1]), kind.model_fields)
    elif "Value error" in detail["msg"]:
        field = field or ("ranks" if kind is Comparison else "")
    else:
        message = f"{message[:1].lower()}{message[1:]}, found {detail['input']!r:.80}"
    return DataError(
        message if message.endswith("?") else f"{message.rstrip('.')}.", path=path, line=line, field=field
    )


# --- writing -----------------------------------------------------------------------------------------------------


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write all records or nothing; the suffix chooses the format. Returns how many were written."""
    path = Path(path)
    with replacing(path) as aside:
        if path.suffix == PARQUET_SUFFIX:
            return _write_parquet(aside, records)
        return _write_lines(aside, path.suffix, records)


def _write_lines(temporary: Path, suffix: str, records: Iterable[Record]) -> int:
    count = 0
    with open(temporary, "wb") as raw:
        with _compressor(raw, suffix) as file:
            for record in records:
                line = to_json(record.to_json())
                file.write(line.encode("utf-8", errors="backslashreplace") + b"\n")
                count += 1
        raw.flush()
        os.fsync(raw.fileno())
    return count


def _compressor(raw: IO[bytes], suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(
            filename="", mode="wb", fileobj=raw, mtime=0
        )  # no clock: same records, same bytes
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
    return nullcontext(raw)  # whoever opened it closes it


def _write_parquet(temporary: Path, records: Iterable[Record]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_to_cells(record.to_json()) for record in records]
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    return len(rows)


def _to_cells(value: Any) -> Any:
    """Free-form values as JSON text, because a Parquet column has one type."""
    if isinstance(value, dict):
        cells = {}
        for key, item in value.items():
            mixed = key == "completions" and not all(isinstance(c, str) for c in item)
            cells[key] = to_json(item) if key in _JSON_COLUMNS or mixed else _to_cells(item)
        return cells
    if isinstance(value, list):
        return [_to_cells(item) for item in value]
    return value
