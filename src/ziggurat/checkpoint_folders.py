"""A run's checkpoints/ as a folder: whole or not there, the newest, the best, and the removal of the others.

    checkpoints/
      step-000120/...    COMPLETE is written last, and lists the files with their sizes
      best               the name of the best one

A checkpoint is filled under a hidden name, fsynced, marked and renamed, so a kill at any moment leaves the one before.
Left out: the lock (`Run` holds it while it calls `save`) and what is inside a checkpoint (`training`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from ziggurat.console import err
from ziggurat.files import atomic_write_text, fsync_folder, fsync_tree

COMPLETE = "COMPLETE"
STEP_DIGITS = 6


def save(
    folder: Path, step: int, write: Callable[[Path], None], *, keep_last: int = 2, best: bool = False
) -> Path:
    """Let `write` fill a folder, then make it the checkpoint of `step` at once; older ones are pruned."""
    target = folder / f"step-{step:0{STEP_DIGITS}d}"
    aside = folder / f".{target.name}.tmp"
    old = folder / f".{target.name}.old"
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(aside)
        fsync_tree(aside)
        mark_complete(aside, step)
        if target.exists():
            target.rename(old)
        aside.rename(target)
        fsync_folder(folder)
    finally:
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
    if best:
        atomic_write_text(folder / "best", target.name + "\n")
    _prune(folder, keep_last)
    return target


def whole_checkpoints(folder: Path) -> list[Path]:
    """Those that can be trusted, oldest first."""
    return [path for path in _all(folder) if torn_reason(path) is None]


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole one; torn ones are skipped, and said to be."""
    for path in reversed(_all(folder)):
        reason = torn_reason(path)
        if reason is None:
            return path
        err.print(f"{path}: skipped a torn checkpoint ({reason}).")
    return None


def best_checkpoint(folder: Path) -> Path | None:
    """The one last saved with `best=True`, if it is whole."""
    try:
        name = (folder / "best").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = folder / name
    return path if name and torn_reason(path) is None else None


def mark_complete(checkpoint: Path, step: int) -> None:
    """Write the marker that makes a folder a checkpoint: the last file to be written, listing all others by size."""
    files = {
        str(p.relative_to(checkpoint)): p.stat().st_size for p in sorted(checkpoint.rglob("*")) if p.is_file()
    }
    atomic_write_text(checkpoint / COMPLETE, json.dumps({"step": step, "files": files}, indent=1) + "\n")


def torn_reason(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be trusted, or None when every file is there at its full size."""
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


def _all(folder: Path) -> list[Path]:
    """Torn ones too, oldest first; by number, for step-1000000 sorts before step-999999 as text."""
    folders = [p for p in folder.glob("step-*") if p.is_dir() and p.name[5:].isdigit()]
    return sorted(folders, key=lambda p: int(p.name[5:]))


def _prune(folder: Path, keep_last: int) -> None:
    keep = {*whole_checkpoints(folder)[-keep_last:], best_checkpoint(folder)}
    for path in _all(folder):
        if path not in keep:
            with contextlib.suppress(
                FileNotFoundError
            ):  # first, lest half a removal be taken for a checkpoint
                (path / COMPLETE).unlink()
            shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)
