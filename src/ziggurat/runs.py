"""Run folders: what an execution of a stage leaves behind, and how it survives being killed (DESIGN section 4).

    runs/<ladder>/<stage>-<n>/
      config.yaml    manifest.json    metrics.jsonl    report.json    lock
      checkpoints/ (see checkpoint_folders.py)    model/ (the final weights)

One process at a time writes to a run: it holds an exclusive `flock` on `lock`, which the kernel releases however the
process dies. Every file is replaced as a whole (written aside, fsynced, renamed); only metrics.jsonl grows, and a
line cut short by a kill is cut off when the run is opened again. The lock does not protect from two machines on a
network file system without flock. Finding runs by name is in places.py, where they come from in lineage.py.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ziggurat import checkpoint_folders
from ziggurat.console import err
from ziggurat.errors import RunError
from ziggurat.files import (
    atomic_write_text,
    check_folder,
    cut_torn_line,
    plain_json,
    replace_folder,
    take_lock,
)
from ziggurat.settings import flatten, load_yaml, parse_yaml

DIFFERENCES_SHOWN = 3


class Run:
    """One run folder. `create` takes the lock and may write; `open` only reads."""

    def __init__(self, path: Path, stage: str, lock: IO[str] | None = None) -> None:
        self.path = path
        self.stage = stage
        self._lock = lock
        self._metrics: IO[str] | None = None
        self._opened_mark = time.monotonic()
        self._wall_before_s = 0.0

    # --- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        stage: str,
        config_yaml: str,
        manifest: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
    ) -> Run:
        """Lock the folder and begin (or, with `resume`, continue) a run in it."""
        path = Path(path)
        check_folder(path)
        begun = (path / "manifest.json").exists()
        if not begun and path.exists() and any(p.name not in ("lock", "config.yaml") for p in path.iterdir()):
            raise RunError(f"{path} is not empty and not a run; name a new folder.")
        path.mkdir(parents=True, exist_ok=True)
        lock = take_lock(path)
        try:
            begun = (path / "manifest.json").exists()
            if begun and overwrite and not resume:
                _empty(path)
                begun = False
            if begun and not resume:
                raise RunError(
                    f"{path} already holds a run; continue it with --resume or replace it with --overwrite."
                )
            run = cls(path, stage, lock)
            if begun:
                run._continue(config_yaml)
            else:
                if resume:
                    err.print(f"{path}: nothing to resume yet, starting at step 0.")
                atomic_write_text(path / "config.yaml", config_yaml)
                run._write_manifest(
                    {"stage": stage, "started_utc": utc_now(), "finished_utc": None, **manifest}
                )
            return run
        except BaseException:
            lock.close()
            raise

    @classmethod
    def open(cls, path: Path) -> Run:
        """A run to read from, whether or not somebody is writing to it."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path} is not a run folder (it has no manifest.json); see `ziggurat runs list`.")
        run = cls(path, "")
        run.stage = str(run.manifest.get("stage", "?"))
        return run

    def _continue(self, config_yaml: str) -> None:
        old, new = flatten(load_yaml(self.path / "config.yaml")), flatten(parse_yaml(config_yaml))
        changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        if changed:
            shown = ", ".join(
                f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:DIFFERENCES_SHOWN]
            )
            more = f" and {len(changed) - DIFFERENCES_SHOWN} more" if len(changed) > DIFFERENCES_SHOWN else ""
            raise RunError(
                f"{self.path} was begun with another configuration ({shown}{more}); "
                "resume with the same settings or start a new run."
            )
        was = self.manifest
        if was.get("stage") != self.stage:
            raise RunError(f"{self.path} is a {was.get('stage')} run, not {self.stage}; name another folder.")
        self._wall_before_s = float(was.get("wall_s") or 0.0)
        cut_torn_line(self.path / "metrics.jsonl")

    def close(self) -> None:
        """Release the lock; may be called twice."""
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        if self._lock:
            try:
                self.update_manifest(wall_s=self._wall_s())
            finally:
                self._lock.close()
                self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # --- what it holds -----------------------------------------------------------------------------------------

    @property
    def model_path(self) -> Path:
        return self.path / "model"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def manifest(self) -> dict[str, Any]:
        try:
            loaded = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path / 'manifest.json'} cannot be read ({error}); the run is damaged."
            ) from error
        return dict(loaded)

    @property
    def finished(self) -> bool:
        return bool(self.manifest.get("finished_utc"))

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration as it was frozen at the start."""
        return load_yaml(self.path / "config.yaml")

    @property
    def report(self) -> dict[str, Any] | None:
        path = self.path / "report.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None

    @property
    def locked(self) -> bool:
        """Whether a living process holds the run."""
        if self._lock:
            return True
        if not (self.path / "lock").exists():
            return False
        try:
            take_lock(self.path).close()
        except RunError:
            return True
        return False

    def update_manifest(self, **fields: Any) -> None:
        """Change fields of manifest.json in one atomic rewrite."""
        self._write_manifest({**self.manifest, **fields})

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        self._must_write()
        atomic_write_text(
            self.path / "manifest.json",
            json.dumps(manifest, indent=2, ensure_ascii=False, default=str) + "\n",
        )

    def finish(self, report: dict[str, Any]) -> None:
        """Write report.json, mark the run finished, release the lock."""
        self._must_write()
        atomic_write_text(
            self.path / "report.json", json.dumps(plain_json(report), indent=2, ensure_ascii=False) + "\n"
        )
        self.update_manifest(finished_utc=utc_now())
        self.close()

    def _must_write(self) -> None:
        if self._lock is None:
            raise RuntimeError(f"{self.path} was opened for reading, or is closed")

    def _wall_s(self) -> float:
        return round(self._wall_before_s + time.monotonic() - self._opened_mark, 3)

    # --- metrics -----------------------------------------------------------------------------------------------

    def log_metrics(self, row: dict[str, Any]) -> None:
        """Append one line; a number that is not finite becomes null."""
        self._must_write()
        if self._metrics is None:
            self._metrics = open(self.path / "metrics.jsonl", "a", encoding="utf-8")
        self._metrics.write(json.dumps(plain_json(row), ensure_ascii=False) + "\n")
        self._metrics.flush()

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows; a last line that is still being written is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def truncate_metrics(self, last_step: int) -> None:
        """Cut back to the checkpoint that is resumed: rows of later steps will be computed again."""
        self._must_write()
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        cut_torn_line(path)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        atomic_write_text(
            path, "".join(line for line in lines if json.loads(line).get("step", 0) <= last_step)
        )

    # --- checkpoints -------------------------------------------------------------------------------------------

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], *, keep_last: int = 2, best: bool = False
    ) -> Path:
        """Let `write` fill a folder, then make it a checkpoint at once; older ones are pruned."""
        self._must_write()
        target = checkpoint_folders.save(self.checkpoints_path, step, write, keep_last=keep_last, best=best)
        self.update_manifest(wall_s=self._wall_s())
        return target

    def checkpoints(self) -> list[Path]:
        """Whole checkpoints, oldest first."""
        return checkpoint_folders.whole_checkpoints(self.checkpoints_path)

    def latest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint; torn ones are skipped, and said to be."""
        return checkpoint_folders.latest_checkpoint(self.checkpoints_path)

    def best_checkpoint(self) -> Path | None:
        """The checkpoint last saved with `best=True`, if it is whole."""
        return checkpoint_folders.best_checkpoint(self.checkpoints_path)

    def save_model(self, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, then make it `model/` at once."""
        self._must_write()
        replace_folder(self.model_path, write)
        return self.model_path


def remove_run(path: Path) -> None:
    """Delete a run that nobody is writing to."""
    run = Run.open(path)
    with contextlib.closing(take_lock(run.path)):
        _empty(run.path)
        shutil.rmtree(run.path)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _empty(path: Path) -> None:
    """Remove a run's contents but the lock we hold; the manifest goes last, so an interrupted removal is resumable."""
    for item in sorted(path.iterdir(), key=lambda p: p.name == "manifest.json"):
        if item.name == "lock":
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
