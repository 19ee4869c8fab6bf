"""Bytes of data files to JSON values and rows: decompression, broken JSON, Parquet, and a reader's notes."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from ziggurat.errors import DataError

_SURROGATES = re.compile("[\ud800-\udfff]")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_OTHERS = {
    b"PAR1": "is a Parquet file; give it a name that ends in .parquet.",
    b"PK\x03\x04": "is a zip archive; unpack it and name the files inside.",
    b"BZh": "is compressed by bzip2, which is not read; unpack it first.",
    b"\xfd7zXZ": "is compressed by xz, which is not read; unpack it first.",
}


@dataclass
class Notes:
    """What a reader left out, mended or did not use: each reason or field with its count."""

    dropped: Counter[str] = field(default_factory=Counter)
    """Reasons for which a row gave no record."""
    mended: Counter[str] = field(default_factory=Counter)
    """Repairs after which a row gave a record."""
    unused: Counter[str] = field(default_factory=Counter)
    """Fields that hold a value and were not used, as `messages[].name`."""

    def summary(self) -> str:
        """`; 2 dropped: no answer by the assistant (2); fields not used: id (300)`, or nothing."""
        text = ""
        for verb, reasons in (("dropped", self.dropped), ("mended", self.mended)):
            if reasons:
                text += f"; {reasons.total():,} {verb}: {_counted(reasons)}"
        return text + (f"; fields not used: {_counted(self.unused)}" if self.unused else "")


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{reason} ({count:,})" for reason, count in reasons.most_common())


def open_text(path: Path) -> IO[bytes]:
    """The bytes of a file, decompressed by its suffix (.gz, .zst) or by its first bytes, whatever its name."""
    if path.is_dir():
        raise DataError("is a folder; name a file.", path=path)
    try:
        with open(path, "rb") as raw:
            head = raw.read(6)
        for magic, sentence in _OTHERS.items():
            if head.startswith(magic) and path.suffix != ".parquet":
                raise DataError(sentence, path=path)
        if path.suffix == ".gz" or head.startswith(_GZIP):
            return cast(IO[bytes], gzip.open(path, "rb"))
        if path.suffix == ".zst" or head.startswith(_ZSTD):
            import zstandard

            return io.BufferedReader(zstandard.open(path, "rb"))  # its own reader cannot be iterated
        return open(path, "rb")
    except FileNotFoundError as error:
        raise DataError("no such file; check the path.", path=path) from error
    except PermissionError as error:
        raise DataError("may not be read; check its permissions.", path=path) from error


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """`open_text`; DataError where the compressed data is broken."""
    with open_text(path) as file:
        try:
            yield file
        except (EOFError, gzip.BadGzipFile, zlib.error, _zstd_error()) as error:
            raise DataError(
                f"the compressed data is broken ({error}); copy the file again.", path=path
            ) from error


def _zstd_error() -> type[Exception]:
    import zstandard

    return cast(type[Exception], zstandard.ZstdError)


def text_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) of every line that is not blank, without byte-order mark.

    Lines end at \\n only: U+2028 may stand inside a JSON string.
    """
    with reading(path) as file:
        for number, raw in enumerate(file, 1):
            line = raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw
            if line.strip():
                yield number, line


def load_line(raw: bytes, path: Path, line: int, notes: Notes) -> Any:
    """The value of one line of JSON, mended; DataError with the place for broken JSON or text that is not UTF-8."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        message = f"not UTF-8 text at byte {error.start + 1} of the line; save the file as UTF-8."
        raise DataError(message, path=path, line=line) from error
    return mended(load_json(text, path, line), text, notes)


def load_json(text: str, path: Path, line: int) -> Any:
    """The value of a JSON text; DataError with the place for broken JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        at = line if error.lineno == 1 else error.lineno
        raise DataError(
            f"broken JSON at column {error.colno} ({error.msg}); mend that line.", path=path, line=at
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"broken JSON ({reason}); mend that line.", path=path, line=line) from error


def mended(value: Any, text: str, notes: Notes) -> Any:
    """`without_surrogates` of a value of this JSON; only an escape in the text can bring half a pair."""
    return without_surrogates(value, notes) if "\\ud" in text or "\\uD" in text else value


def without_surrogates(value: Any, notes: Notes) -> Any:
    """The value with each half of a surrogate pair replaced by U+FFFD; rows with one are counted."""
    replaced = _replaced(value)
    if replaced != value:
        notes.mended["half a surrogate pair (no character) replaced by U+FFFD"] += 1
    return replaced


def whole_characters(text: str) -> str:
    """Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes U+FFFD."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list) else value


# --- Parquet ----------------------------------------------------------------------------------------------------


def parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 1, row). Parquet gives every struct every field; a field without a value is left out."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
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
                yield number, _without_none(row)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return [_without_none(item) for item in value] if isinstance(value, list) else value
