"""A run as those of its processes have it that do not write (`ziggurat.processes`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ziggurat import checkpoint_folders
from ziggurat.runs import Run


class Follower(Run):
    """The run as a process has it that does not write: process 0 holds the lock. What processes write together (the
    shards of a checkpoint) is written by the callables that are passed in."""

    def __init__(self, path: Path, stage: str, together: Callable[[], None]) -> None:
        super().__init__(path, stage)
        self.together = together

    def _must_write(self) -> None:
        pass

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        pass

    def log_metrics(self, row: dict[str, Any]) -> None:
        pass

    def note(self, step: int, kind: str, text: str) -> None:
        pass

    def truncate_metrics(self, last_step: int) -> None:  # noqa: ARG002
        self.together()

    def replace_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        pass

    def save_checkpoint(
        self,
        step: int,
        write: Callable[[Path], None],
        *,
        keep_last: int = 2,  # noqa: ARG002
        best: bool = False,  # noqa: ARG002
    ) -> Path:
        write(checkpoint_folders.aside(self.checkpoints_path, step))
        self.together()
        return checkpoint_folders.target(self.checkpoints_path, step)

    def mark_best(self) -> None:
        self.together()

    def save_model(self, write: Callable[[Path], None]) -> Path:
        write(self.model_path)
        self.together()
        return self.model_path

    def finish(self, report: dict[str, Any]) -> None:
        pass
