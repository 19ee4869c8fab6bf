"""Files and records as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PathLike = str | Path
Files = PathLike | Sequence[PathLike]


def paths(given: Files) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def records_or_paths(given: Files | Sequence[Any]) -> list[Any]:
    """Paths as `Path`, records as they are."""
    if isinstance(given, str | Path):
        return [Path(given)]
    return [Path(one) if isinstance(one, str) else one for one in given]
