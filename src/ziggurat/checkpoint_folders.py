"""A run's folder checkpoints/: atomic saves, the newest, the best, and removal of the others.

    checkpoints/
      step-000120/...    COMPLETE is written last; it lists the files with their sizes
      best               the name of the best checkpoint

A checkpoint is written under a hidden name, fsynced, marked and renamed. A kill at any moment leaves the previous one.
Not here: the lock, which `Run` holds, and the files inside a checkpoint, which `training` writes.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.files import atomic_write_text, fsync_folder, fsync_tree, read_json, write_json

COMPLETE = "COMPLETE"
COMPLETE_FORMAT = 1
STEP_DIGITS = 6


def save(
    folder: Path, step: int, write: Callable[[Path], None], *, keep_last: int = 2, best: bool = False
) -> Path:
    """Let `write` fill a folder, then rename it to the checkpoint of `step`; remove older ones."""
    checkpoint, new = target(folder, step), aside(folder, step)
    old = folder / f".{checkpoint.name}.old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        write(new)
        fsync_tree(new)
        mark_complete(new, step)
        if checkpoint.exists():
            checkpoint.rename(old)
        new.rename(checkpoint)
        fsync_folder(folder)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)
    if best:
        mark_best(checkpoint)
    _prune(folder, keep_last)
    return checkpoint


def target(folder: Path, step: int) -> Path:
    """The checkpoint of `step`."""
    return folder / f"step-{step:0{STEP_DIGITS}d}"


def aside(folder: Path, step: int) -> Path:
    """Where it is written before it is renamed."""
    return folder / f".{target(folder, step).name}.tmp"


def mark_best(checkpoint: Path) -> None:
    """Make a complete checkpoint the best one."""
    atomic_write_text(checkpoint.parent / "best", checkpoint.name + "\n")


def whole_checkpoints(folder: Path) -> list[Path]:
    """The complete ones, oldest first."""
    return [path for path in _all(folder) if torn_reason(path) is None]


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete one. Incomplete ones are skipped with a message."""
    for path in reversed(_all(folder)):
        reason = torn_reason(path)
        if reason is None:
            return path
        err.print(f"{path}: skipped a torn checkpoint ({reason}).")
    return None


def best_checkpoint(folder: Path) -> Path | None:
    """The one last saved with `best=True`, if it is complete."""
    try:
        name = (folder / "best").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = folder / name
    return path if name and torn_reason(path) is None else None


def mark_complete(checkpoint: Path, step: int) -> None:
    """Write COMPLETE, the last file of a checkpoint: it lists all other files with their sizes."""
    files = {
        str(p.relative_to(checkpoint)): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()
    }
    write_json(checkpoint / COMPLETE, {"step": step, "files": files}, COMPLETE_FORMAT)


def torn_reason(checkpoint: Path) -> str | None:
    """Why a checkpoint is incomplete, or None if every file has its full size."""
    if not (checkpoint / COMPLETE).exists():
        return f"it has no {COMPLETE}"
    try:
        files = dict(read_json(checkpoint / COMPLETE, COMPLETE_FORMAT)["files"])
    except (RunError, KeyError, TypeError, ValueError):
        return f"its {COMPLETE} cannot be read"
    for name, size in files.items():
        try:
            found = (checkpoint / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if found != size:
            return f"{name} has {found} bytes, not {size}"
    return None


def _all(folder: Path) -> list[Path]:
    """All, incomplete ones too, ordered by number: as text, step-1000000 sorts before step-999999."""
    folders = [p for p in folder.glob("step-*") if p.is_dir() and p.name[5:].isdigit()]
    return sorted(folders, key=lambda p: int(p.name[5:]))


def _prune(folder: Path, keep_last: int) -> None:
    keep = {*whole_checkpoints(folder)[-keep_last:], best_checkpoint(folder)}
    for path in _all(folder):
        if path not in keep:
            with contextlib.suppress(FileNotFoundError):  # first: half a removal is then no checkpoint
                (path / COMPLETE).unlink()
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
