"""$ZIGGURAT_HOME, and paths inside it that stay right when it is moved.

What is written down (manifests, plans, settings) names a path inside the home as `$ZIGGURAT_HOME/runs/...`. Earlier
versions wrote absolute paths; `located` finds those in today's home where they are gone from their old place.
"""

from __future__ import annotations

import os
from pathlib import Path

HOME = "$ZIGGURAT_HOME"
FOLDERS = ("runs", "releases", "corpora", "models", "datasets")
"""What the home holds."""


def ziggurat_home() -> Path:
    """Where runs, releases and corpora live: $ZIGGURAT_HOME, or ~/.ziggurat."""
    return Path(os.environ.get("ZIGGURAT_HOME") or "~/.ziggurat").expanduser()


def portable(path: str | Path) -> str:
    """The path to write down: `$ZIGGURAT_HOME/...` inside the home, else absolute."""
    whole, home = located(path).resolve(), ziggurat_home().resolve()
    return f"{HOME}/{whole.relative_to(home).as_posix()}" if whole.is_relative_to(home) else str(whole)


def located(written: str | Path) -> Path:
    """The path that was written down.

    An absolute path that is gone stands for the one in today's home that has the same part from `runs` (or another of
    FOLDERS) on: the home was moved. Callers that need to be sure compare hashes.
    """
    text = str(written)
    if text.startswith(f"{HOME}/"):
        return ziggurat_home() / text.removeprefix(f"{HOME}/")
    path = Path(text).expanduser()
    if not path.is_absolute() or path.exists():
        return path
    for at, part in enumerate(path.parts):
        if part in FOLDERS and (moved := ziggurat_home().joinpath(*path.parts[at:])).exists():
            return moved
    return path


def same_setting(one: object, other: object) -> bool:
    """Whether two values of a setting are equal, or the same path."""
    if one == other:
        return True
    paths = [
        value for value in (one, other) if isinstance(value, str) and value.startswith(("/", "~", f"{HOME}/"))
    ]
    return len(paths) == 2 and portable(paths[0]) == portable(paths[1])
