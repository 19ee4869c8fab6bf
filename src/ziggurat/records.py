"""The data files (DESIGN section 5): their records, and a strict reader and writer.

One record a line of JSON (`.jsonl`, also `.gz` and `.zst`) or one row of Parquet. Native files are strict: the first
bad row is an error that names file, line, field and what was expected; with `skip_bad_rows` it is counted and kept
aside. Files of other shapes are sniffed and imported by `corpus`, not here.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from pydantic import ValidationError

from ziggurat.console import err
from ziggurat.errors import DataError, did_you_mean
from ziggurat.files import to_json
from ziggurat.record_types import (
    MAX_COMPLETIONS,
    MIN_COMPLETIONS,
    Comparison,
    Demonstration,
    Document,
    Message,
    Prompt,
    Rating,
    Record,
    Role,
    check_ranks,
)

__all__ = [
    "MAX_COMPLETIONS",
    "MIN_COMPLETIONS",
    "Comparison",
    "Demonstration",
    "Document",
    "Message",
    "Prompt",
    "Rating",
    "Record",
    "Reject",
    "Role",
    "check_ranks",
    "open_text",
    "read_records",
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
    path: str | Path, kind: type[R], *, skip_bad_rows: bool = False, rejects: list[Reject] | None = None
) -> Iterator[R]:
    """Yield the records of a native file; a bad row raises DataError, or goes to `rejects` with `skip_bad_rows`."""
    path = Path(path)
    aside: list[Reject] = [] if rejects is None else rejects
    before, count = len(aside), 0
    for line, row in _rows(path):
        try:
            record = _parse(path, line, row, kind)
        except DataError as error:
            if not skip_bad_rows:
                raise
            shown = row if isinstance(row, str) else repr(row)
            aside.append(Reject(line, str(error), shown))
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


def open_text(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed by its suffix (.gz, .zst)."""
    if path.is_dir():
        raise DataError("is a folder; name a file.", path=path)
    try:
        if path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        if path.suffix == ".zst":
            import zstandard

            return io.BufferedReader(zstandard.open(path, "rb"))  # its own reader cannot be iterated
        return open(path, "rb")
    except FileNotFoundError as error:
        raise DataError("no such file; check the path.", path=path) from error
    except PermissionError as error:
        raise DataError("may not be read; check its permissions.", path=path) from error


def _rows(path: Path) -> Iterator[tuple[int, str | bytes | dict[str, Any]]]:
    """(line or row number, raw row); JSON is parsed later so that a bad line can be set aside."""
    if path.suffix == PARQUET_SUFFIX:
        yield from _parquet_rows(path)
        return
    with open_text(path) as file:
        line = 0
        try:
            for line, raw in enumerate(file, 1):
                if line == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if raw.strip():
                    yield line, raw
        except (EOFError, OSError, zlib.error, _zstd_error()) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno:
                raise
            raise DataError(
                f"the compressed data is broken here ({error}); copy the file again.",
                path=path,
                line=line + 1,
            ) from error


def _zstd_error() -> type[Exception]:
    import zstandard

    return cast(type[Exception], zstandard.ZstdError)


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise DataError("no such file; check the path.", path=path)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError("is not a Parquet file, whatever its name says.", path=path) from error
    number = 0
    with file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield (
                    number,
                    cast(dict[str, Any], _from_cells({k: v for k, v in row.items() if v is not None})),
                )


def _from_cells(value: Any) -> Any:
    """Undo `_to_cells`: JSON text in the free-form columns, absent struct fields."""
    if isinstance(value, dict):
        return {
            key: json.loads(item) if key in _JSON_COLUMNS and isinstance(item, str) else _from_cells(item)
            for key, item in value.items()
            if item is not None
        } | (
            {"completions": json.loads(value["completions"])}
            if isinstance(value.get("completions"), str)
            else {}
        )
    if isinstance(value, list):
        return [_from_cells(item) for item in value]
    return value


def _parse(path: Path, line: int, row: str | bytes | dict[str, Any], kind: type[R]) -> R:
    value: Any = row
    if isinstance(row, bytes):
        try:
            value = json.loads(row.decode("utf-8").rstrip("\r\n"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8 text at byte {error.start + 1} of the line.", path=path, line=line
            ) from error
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise DataError(
                f"broken JSON{column} ({reason}); mend that line.", path=path, line=line
            ) from error
    if not isinstance(value, dict):
        raise DataError(
            f"expected one {kind.__name__.lower()} as a JSON object, found {type(value).__name__}.",
            path=path,
            line=line,
        )
    try:
        record = kind.model_validate(value)
    except ValidationError as error:
        raise _row_error(path, line, kind, error) from error
    if isinstance(record, Comparison) and record.labeller is None:
        record.labeller = f"import:{path.name}"
    return record


def _row_error(path: Path, line: int, kind: type[Record], error: ValidationError) -> DataError:
    """The first problem of a row, with the field as people write it: messages[1].role."""
    detail = error.errors()[0]
    field = ""
    for part in detail["loc"]:
        if isinstance(part, int):
            field += f"[{part}]"
        elif (
            not part[:1].isupper() and "[" not in part and part != "str"
        ):  # else pydantic's tag of a union member
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
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        count = (
            _write_parquet(temporary, records)
            if path.suffix == PARQUET_SUFFIX
            else _write_lines(temporary, path.suffix, records)
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count


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


class _Plain:
    """A context around a file that somebody else closes."""

    def __init__(self, raw: IO[bytes]) -> None:
        self.write: Callable[[bytes], int] = raw.write

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def _compressor(raw: IO[bytes], suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(
            filename="", mode="wb", fileobj=raw, mtime=0
        )  # no clock: same records, same bytes
    if suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(raw, closefd=False)
    return _Plain(raw)


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
