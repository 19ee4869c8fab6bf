"""Files that are whole or not there: atomic writes, hashes, and the COMPLETE marker of checkpoints."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

COMPLETE = "COMPLETE"


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


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mark_complete(checkpoint: Path, step: int) -> None:
    """Write the marker that makes a folder a checkpoint: the last file to be written, listing all others by size."""
    files = {
        str(p.relative_to(checkpoint)): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()
    }
    atomic_write_text(checkpoint / COMPLETE, json.dumps({"step": step, "files": files}, indent=1) + "\n")


def torn_reason(checkpoint: Path) -> str | None:
    """Why a checkpoint folder cannot be trusted, or None when every file is there at its full size."""
    try:
        listed = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return f"it has no {COMPLETE}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {COMPLETE} cannot be read"
    for name, size in listed.items():
        try:
            found = (checkpoint / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if found != size:
            return f"{name} has {found} bytes, not {size}"
    return None
