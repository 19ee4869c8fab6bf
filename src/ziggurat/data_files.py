"""Bytes of data files to JSON values: decompression, broken JSON, halves of surrogate pairs, and a reader's notes."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from ziggurat.errors import DataError

_SURROGATES = re.compile("[\ud800-\udfff]")
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


def without_surrogates(value: Any, notes: Notes) -> Any:
    """The value with each half of a surrogate pair replaced by U+FFFD; rows with one are counted."""
    replaced = _replaced(value)
    if replaced != value:
        notes.mended["half a surrogate pair (no character) replaced by U+FFFD"] += 1
    return replaced


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list) else value
