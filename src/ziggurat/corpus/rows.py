"""Raw rows of any data file: JSON (one array), JSON Lines, CSV, Parquet; `.gz` and `.zst` where it is text.

Yields (line, row): the line in a JSON Lines or CSV file, the number of the row in an array or Parquet. Rows are
dictionaries, not yet records; formats/ makes records of them. Broken JSON is an error here, never skipped silently.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from ziggurat.errors import DataError
from ziggurat.records import open_text

Row = dict[str, Any]
TEXT_SUFFIXES = (".gz", ".zst")
_BIGGEST_CELL = 1 << 30  # csv refuses cells above 128 KiB unless told otherwise


def kind_of(path: Path) -> str:
    """The suffix that says what is inside: `poems.jsonl.gz` -> `.jsonl`."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in TEXT_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Every row of a file; an empty file is an error."""
    kind = kind_of(path)
    if kind == ".parquet":
        rows = _parquet(path)
    elif kind in (".csv", ".tsv"):
        rows = _csv(path, "\t" if kind == ".tsv" else ",")
    elif kind == ".json":
        rows = _array(path)
    else:
        rows = _lines(path)
    count = 0
    for line, row in rows:
        if not isinstance(row, dict):
            raise DataError(f"expected a JSON object, found {type(row).__name__}.", path=path, line=line)
        count += 1
        yield line, row
    if not count:
        raise DataError("the file is empty; expected at least one record.", path=path)


def read_text(path: Path) -> str:
    """The whole text of a file, decompressed, without byte-order mark."""
    try:
        with open_text(path) as file:
            raw = file.read()
    except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise _torn(path, error) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError("not UTF-8 text; save the file as UTF-8.", path=path, line=line) from None


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    with open_text(path) as file:
        number = 0
        try:
            # bytes part at \n only: U+2028 may stand inside a JSON string
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                    yield number, json.loads(text.rstrip("\r\n"))
        except UnicodeDecodeError:
            raise DataError("not UTF-8 text; save the file as UTF-8.", path=path, line=number) from None
        except ValueError as error:
            raise _broken(path, number, error) from None
        except (EOFError, gzip.BadGzipFile, zstandard.ZstdError) as error:
            raise _torn(path, error) from None


def _array(path: Path) -> Iterator[tuple[int, Any]]:
    text = read_text(path)
    if not text.strip():
        return
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line, whatever the name says
            yield from _lines(path)
            return
        raise _broken(path, error.lineno, error) from None
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
    yield from enumerate(found, 1)


def _torn(path: Path, error: Exception) -> DataError:
    return DataError(f"the compressed data is broken ({error}); copy the file again.", path=path)


def _broken(path: Path, line: int, error: ValueError) -> DataError:
    column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return DataError(f"broken JSON{column} ({reason}); mend that line.", path=path, line=line)


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


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError("no such file; check the path.", path=path)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid:
        raise DataError("is not a Parquet file, whatever its name says.", path=path) from None
    number = 0
    with file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, _without_none(row)


def _without_none(value: Any) -> Any:
    """Parquet gives every struct every field; a field without a value is a field that is not there."""
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value]
    return value
