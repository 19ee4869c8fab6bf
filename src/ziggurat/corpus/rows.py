"""Raw rows of any data file: JSON (one array), JSON Lines, CSV, Parquet; `.gz` and `.zst` where it is text.

Yields (line, row): the line in a JSON Lines or CSV file, the number of the row in an array or Parquet. Rows are
dictionaries, not yet records; formats/ makes records of them. Broken JSON is an error here, never skipped silently.
A cell of NaN (pandas writes them for missing values) is a missing value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ziggurat.data_files import (
    BYTE_ORDER_MARK,
    Notes,
    load_json,
    load_line,
    mended,
    parquet_rows,
    reading,
    text_lines,
)
from ziggurat.errors import DataError

Row = dict[str, Any]
TEXT_SUFFIXES = (".gz", ".zst")
_BIGGEST_CELL = 1 << 30  # csv refuses cells above 128 KiB by default


def kind_of(path: Path) -> str:
    """The suffix that says what is inside: `poems.jsonl.gz` -> `.jsonl`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in TEXT_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_rows(path: Path, notes: Notes | None = None) -> Iterator[tuple[int, Row]]:
    """Every row of a file; an empty file is an error. `notes` counts the rows that were mended."""
    notes = Notes() if notes is None else notes
    kind = kind_of(path)
    if kind == ".parquet":
        rows: Iterator[tuple[int, Any]] = parquet_rows(path)
    elif kind in (".csv", ".tsv"):
        rows = _csv(path, "\t" if kind == ".tsv" else ",")
    elif kind == ".json" or is_array(path):
        rows = _array(path, notes)
    else:
        rows = _lines(path, notes)
    count = 0
    for line, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"expected a JSON object, found {type(row).__name__}.", path=path, line=line)
        count += 1
        yield line, without_nan(row)
    if not count:
        raise DataError("the file is empty; expected at least one record.", path=path)


def is_array(path: Path) -> bool:
    """Whether a file of JSON begins with `[`: one array, whatever its name says."""
    with reading(path) as file:
        return file.read(64).removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"["


def without_nan(value: Any) -> Any:
    """The value without the fields that are NaN."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items() if item == item}
    return [without_nan(item) for item in value] if isinstance(value, list) else value


def read_text(path: Path) -> str:
    """The whole text of a file, decompressed, without byte-order mark."""
    with reading(path) as file:
        raw = file.read()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError("not UTF-8 text; save the file as UTF-8.", path=path, line=line) from None


def _lines(path: Path, notes: Notes) -> Iterator[tuple[int, Any]]:
    return ((number, load_line(raw, path, number, notes)) for number, raw in text_lines(path))


def _array(path: Path, notes: Notes) -> Iterator[tuple[int, Any]]:
    text = read_text(path)
    if not text.strip():
        return
    try:
        found = load_json(text, path, 1)
    except DataError as error:
        if "Extra data" in error.reason:  # one object a line, whatever the name says
            yield from _lines(path, notes)
            return
        raise
    if isinstance(found, dict):  # {"data": [...]}: the one list of objects inside, else a single record
        lists = [
            value
            for value in found.values()
            if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        is_record = bool({"messages", "conversations", "prompt", "text"} & set(found))
        found = lists[0] if len(lists) == 1 and not is_record else [found]
    if not isinstance(found, list):
        raise DataError(f"expected a list of records, found {type(found).__name__}.", path=path)
    for number, row in enumerate(found, 1):
        yield number, mended(row, text, notes)


def _csv(path: Path, delimiter: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_BIGGEST_CELL)
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if None in row:
                width = len(reader.fieldnames or ())
                raise DataError(
                    f"more cells than the {width} of the header; quote cells that hold a {delimiter!r}.",
                    path=path,
                    line=reader.line_num,
                )
            yield reader.line_num, {key: cell for key, cell in row.items() if cell is not None}
    except csv.Error as error:
        raise DataError(f"broken CSV ({error}).", path=path, line=reader.line_num) from None
