"""The records of the data files (DESIGN section 5) and their strict reader and writer.

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
from typing import IO, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from ziggurat.console import err
from ziggurat.errors import DataError, did_you_mean

MIN_COMPLETIONS, MAX_COMPLETIONS = 2, 9  # K of a comparison
PARQUET_SUFFIX = ".parquet"
_JSON_COLUMNS = ("meta", "tools", "tool_calls", "sampling")  # free-form: JSON text in a Parquet cell

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


R = TypeVar("R", bound=Record)


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


# --- reading -----------------------------------------------------------------------------------------------------


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
            value = json.loads(row.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(
                f"not UTF-8 text at byte {error.start + 1} of the line.", path=path, line=line
            ) from error
        except ValueError as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise DataError(f"broken JSON{column} ({reason}).", path=path, line=line) from error
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
                line = json.dumps(record.to_json(), ensure_ascii=False, separators=(", ", ": "))
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
            cells[key] = (
                json.dumps(item, ensure_ascii=False) if key in _JSON_COLUMNS or mixed else _to_cells(item)
            )
        return cells
    if isinstance(value, list):
        return [_to_cells(item) for item in value]
    return value
