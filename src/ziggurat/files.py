"""Files that are whole or not there: atomic writes, hashes and locks."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ziggurat.errors import RunError, UsageError


def atomic_write_text(path: str | Path, text: str) -> None:
    """Replace a file as a whole: written aside, fsynced, renamed. A full disk leaves the old file as it was."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(aside, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(path.parent)


def check_folder(path: str | Path) -> None:
    """Refuse, before any work, a folder that could not be made or written to; nothing is created."""
    there = Path(path).absolute()
    while not os.path.exists(there):
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{there} is a file, so {path} cannot be a folder; name another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"{there} may not be written to, so {path} cannot be made; name another place.")


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
    """Let `write` fill a folder aside, then make it `target` at once."""
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


def take_lock(path: Path) -> IO[str]:
    """Hold the folder `path` for this process until the returned file is closed or the process dies."""
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


def cut_torn_line(path: Path) -> None:
    """Drop a last line that a kill left without its newline."""
    if not path.exists():
        return
    with open(path, "rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def plain_json(value: Any) -> Any:
    """JSON-able: numpy and torch scalars as numbers, non-finite numbers as null, paths as text."""
    if isinstance(value, dict):
        return {str(k): plain_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return plain_json(value.tolist())
    return str(value)
