"""Files and folders: atomic writes, JSON with a format version, hashes, locks.

Every JSON document that Ziggurat writes for itself carries `format_version` (docs/formats.md). `write_json` adds it and
`read_json` checks it. A file without it was written before versions existed and has version 1.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ziggurat.errors import FormatError, RunError, UsageError

FORMAT_VERSION = "format_version"
"""The key of the version in every document."""


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replace a file as a whole: write beside it, fsync, rename. If the disk is full, the old file stays.

    A lone surrogate, which UTF-8 cannot hold, is written as "?".
    """
    with (
        replacing(Path(path)) as aside,
        open(aside, "w", encoding="utf-8", errors="replace", newline="") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to be written and fsynced. It replaces `path` at the end of the block; after an exception it
    is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def check_folder(path: str | Path) -> None:
    """Raise UsageError if the folder cannot be created or written to. Creates nothing."""
    there = Path(path).absolute()
    while not os.path.exists(there):
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there} is a file, so {path} cannot be a folder; name another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{there} is not writable, so {path} cannot be created; name another folder.")


def fsync_folder(path: Path) -> None:
    """Make renames inside a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_tree(folder: Path) -> None:
    """fsync every file and folder below `folder`, itself included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        elif path.is_dir():
            fsync_folder(path)
    fsync_folder(folder)


def replace_folder(target: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary folder, then rename it to `target`."""
    aside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        write(aside)
        fsync_tree(aside)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


WHOLE_BYTES = 64 * 1024**2
PIECES, PIECE_BYTES = 1024, 64 * 1024


def sample_into(known: Any, path: Path) -> None:
    """Update a hash with a file's name, size and bytes; of a file above WHOLE_BYTES with PIECES evenly spread pieces.

    It tells models apart, since training changes nearly every number; it does not detect manipulation.
    """
    size = path.stat().st_size
    known.update(f"{path.name} {size}\n".encode())
    whole = size <= WHOLE_BYTES
    starts = [0] if whole else [(size - PIECE_BYTES) * i // (PIECES - 1) for i in range(PIECES)]
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            known.update(file.read(WHOLE_BYTES if whole else PIECE_BYTES))


def sampled_sha256(paths: Iterable[Path]) -> str:
    """One hash of several files, by `sample_into`."""
    known = hashlib.sha256()
    for path in paths:
        sample_into(known, path)
    return known.hexdigest()


def take_lock(path: Path) -> IO[str]:
    """Lock the folder `path` until the returned file is closed or the process ends.

    Raises:
        RunError: another process holds the lock.
    """
    lock = open(path / "lock", "a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise RunError(f"{path} is in use by process {holder}; wait for it or stop it.") from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def drop_lock(lock: IO[str]) -> None:
    """Release a lock of `take_lock`. A second call does nothing."""
    if not lock.closed:
        lock.truncate(0)
        lock.close()


def is_locked(path: Path) -> bool:
    """Whether a running process holds the lock of the folder `path`; asked without touching the lock.

    The lock's file names its process until it is dropped. A process that began after the file was written is another
    one with the number of a process that was killed.
    """
    import psutil  # only whoever watches a run asks

    lock = path / "lock"
    try:
        holder = psutil.Process(int(lock.read_text(encoding="utf-8")))
        return holder.create_time() <= lock.stat().st_mtime + 1.0
    except (OSError, ValueError, psutil.Error):
        return False


def cut_torn_line(path: Path) -> None:
    """Remove a last line without a newline, which a killed writer leaves."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


# --- JSON ----------------------------------------------------------------------------------------------------------


def to_json(value: Any, *, indent: int | None = None) -> str:
    """`value` as JSON text. NaN and infinity become null; numpy and torch values become numbers and lists."""
    return json.dumps(plain_json(value), ensure_ascii=False, indent=indent, allow_nan=False)


def write_json(path: str | Path, document: Mapping[str, Any], version: int) -> None:
    """Write one JSON object with its format version, atomically."""
    atomic_write_text(path, to_json({FORMAT_VERSION: version, **document}, indent=2) + "\n")


def read_json(path: str | Path, version: int) -> dict[str, Any]:
    """The object that `write_json` wrote, without its format version. `version`: the newest one that is understood.

    Raises:
        FormatError: a newer Ziggurat wrote the file.
        RunError: the file is missing or is not a JSON object.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error}); the file is missing or damaged.") from error
    if not isinstance(document, dict):
        raise RunError(f"{path} holds {type(document).__name__}, not a JSON object; the file is damaged.")
    return check_format(document, version, path)


def check_format(document: Mapping[str, Any], version: int, path: str | Path) -> dict[str, Any]:
    """`document` without its format version; `version` is the newest one that is understood.

    Raises:
        FormatError: the version is newer, or is not a version.
    """
    found = document.get(FORMAT_VERSION, 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise FormatError(
            f"{path}: {FORMAT_VERSION} is {found!r}; it must be a whole number from 1 to {version}, or absent."
        )
    if found > version:
        raise FormatError(
            f"{path} has {FORMAT_VERSION} {found} and this Ziggurat reads up to {version}; upgrade Ziggurat."
        )
    return {key: value for key, value in document.items() if key != FORMAT_VERSION}


def plain_json(value: Any) -> Any:
    """`value` as dict, list, str, int, float, bool and None; NaN and infinity become None, paths become text."""
    if isinstance(value, dict):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in value]
    if isinstance(value, str):
        return value if value.isascii() else _without_lone_surrogates(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return plain_json(value.tolist())
    return str(value)


def _without_lone_surrogates(text: str) -> str:
    """Lone surrogates, which no UTF-8 file can hold, become U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
