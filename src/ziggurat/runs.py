"""Run folders: the files of one execution of a stage, and their safety when the process is killed (DESIGN section 4).

    runs/<ladder>/<stage>-<n>/
      config.yaml    manifest.json    metrics.jsonl    notes.jsonl    report.json    lock
      checkpoints/ (see checkpoint_folders.py)    model/ (the final weights)

One process at a time writes to a run. It holds an exclusive `flock` on `lock`, which the kernel releases when the
process ends for any reason. Every file is replaced atomically, except metrics.jsonl and notes.jsonl, which grow; a
line that a killed process left incomplete is removed when the run is opened again. A network file system without flock
does not protect from two machines. places.py finds runs by name; lineage.py records where a model comes from.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ziggurat import checkpoint_folders
from ziggurat.cards import card_of_run, write_card
from ziggurat.console import err
from ziggurat.errors import RunError, ZigguratError
from ziggurat.files import (
    atomic_write_text,
    check_folder,
    cut_torn_line,
    drop_lock,
    is_locked,
    read_json,
    replace_folder,
    take_lock,
    to_json,
    write_json,
)
from ziggurat.home import same_setting
from ziggurat.lineage import MANIFEST_FORMAT
from ziggurat.settings import Resolved, flatten, load_yaml, parse_settings, resolve

REPORT_FORMAT = 1
"""Version of report.json."""

DIFFERENCES_SHOWN = 3
FAILURE_CHARS = 500
"""Of the sentence with which a run ended, as the manifest keeps it."""
OF_THE_MACHINE = ("device", "compile")
"""Settings of which a resumed run may have others: they name what computes, not what is computed."""

PRIVATE = "private"
"""An empty file of a run that learns from what people may delete: nothing of it is quoted in notes or reports."""
ALLOWED = ("lock", "config.yaml", PRIVATE)
"""What a folder may hold in which a run begins."""
NOTES = "notes.jsonl"
"""Samples and the doctor's remarks, by step."""


class Run:
    """One run folder. `create` takes the lock and may write; `open` only reads."""

    def __init__(self, path: Path, stage: str, lock: IO[str] | None = None) -> None:
        self.path = path
        self.stage = stage
        self._lock = lock
        self._metrics: IO[str] | None = None
        self._opened_mark = time.monotonic()
        self._wall_before_s = 0.0
        self.together: Callable[[], None] = lambda: None
        """Waits until every process of the run has come here; called where the others read what this one wrote."""

    # --- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        stage: str,
        config_yaml: str | Resolved[Any],
        manifest: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
    ) -> Run:
        """Lock the folder and begin (or, with `resume`, continue) a run in it.

        A `Resolved` configuration is compared with that of an older run setting by setting, renamed ones included;
        text is compared as it is.

        Raises:
            RunError: the folder is in use, is not a run, or holds a run that `resume` and `overwrite` do not allow.
            FormatError: a newer Ziggurat wrote the run.
        """
        path = Path(path)
        check_folder(path)
        begun = (path / "manifest.json").exists()
        if not begun and path.exists() and any(p.name not in ALLOWED for p in path.iterdir()):
            raise RunError(f"{path} is not empty and is not a run; name a new folder.")
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
                    err.print(f"{path}: there is nothing to resume; the run starts at step 0.")
                text = config_yaml if isinstance(config_yaml, str) else config_yaml.to_yaml()
                atomic_write_text(path / "config.yaml", text)
                run._write_manifest(
                    {"stage": stage, "started_utc": utc_now(), "finished_utc": None, **manifest}
                )
            return run
        except BaseException:
            drop_lock(lock)
            raise

    @classmethod
    def open(cls, path: Path) -> Run:
        """A run to read from; another process may be writing to it."""
        path = Path(path)
        if not (path / "manifest.json").is_file():
            raise RunError(f"{path} is not a run folder (it has no manifest.json); see `ziggurat runs list`.")
        run = cls(path, "")
        run.stage = str(run.manifest.get("stage", "?"))
        return run

    def _continue(self, config: str | Resolved[Any]) -> None:
        path = self.path / "config.yaml"
        before = load_yaml(path)
        if isinstance(config, str):
            old, new = flatten(before), flatten(parse_settings(config, path))
        else:  # settings that were renamed since are read under their new names; what is computed for new ones is kept
            same = resolve(type(config.config), (str(path), before))
            old, new = (flatten(one.config.model_dump(mode="json")) for one in (same, config))
            computed = {key for key, source in config.sources.items() if source in ("derived", "inherited")}
            new |= {key: value for key, value in old.items() if key in computed and key not in same.sources}
        compared = [key for key in {**old, **new} if key.rpartition(".")[2] not in OF_THE_MACHINE]
        changed = [key for key in compared if not same_setting(old.get(key), new.get(key))]
        if changed:
            shown = ", ".join(
                f"{key} was {old.get(key)!r}, now {new.get(key)!r}" for key in changed[:DIFFERENCES_SHOWN]
            )
            more = f" and {len(changed) - DIFFERENCES_SHOWN} more" if len(changed) > DIFFERENCES_SHOWN else ""
            raise RunError(
                f"{self.path} was begun with another configuration ({shown}{more}); "
                "resume with the same settings, or start a new run."
            )
        was = self.manifest
        if was.get("stage") != self.stage:
            raise RunError(f"{self.path} is a {was.get('stage')} run, not {self.stage}; name another folder.")
        self._wall_before_s = float(was.get("wall_s") or 0.0)
        if was.pop("failed", None) is not None:
            self._write_manifest(was)
        cut_torn_line(self.path / "metrics.jsonl")

    def close(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        if self._lock:
            try:
                self.update_manifest(wall_s=self._wall_s())
            finally:
                drop_lock(self._lock)
                self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if (
            isinstance(error, Exception) and self._lock
        ):  # Ctrl-C and `kill` are no failures: such a run was stopped
            with contextlib.suppress(OSError, ZigguratError):  # the caller gets the first error
                self.update_manifest(failed={"at_utc": utc_now(), "text": sentence_of(error)})
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
        return read_json(self.path / "manifest.json", MANIFEST_FORMAT)

    @property
    def quotes(self) -> bool:
        """Whether its notes and its report may quote what it learns from."""
        return not (self.path / PRIVATE).exists()

    @property
    def finished(self) -> bool:
        return bool(self.manifest.get("finished_utc"))

    @property
    def failure(self) -> str | None:
        """The sentence with which the run ended; None for one that goes on, was stopped or is finished."""
        failed = self.manifest.get("failed")
        return str(failed.get("text", "")) if isinstance(failed, dict) and not self.finished else None

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, frozen when the run began."""
        return load_yaml(self.path / "config.yaml")

    @property
    def report(self) -> dict[str, Any] | None:
        path = self.path / "report.json"
        return read_json(path, REPORT_FORMAT) if path.exists() else None

    @property
    def locked(self) -> bool:
        """Whether a running process holds the lock."""
        if self._lock:
            return True
        return is_locked(self.path)

    def update_manifest(self, **fields: Any) -> None:
        """Change fields of manifest.json in one atomic rewrite."""
        self._write_manifest({**self.manifest, **fields})

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        self._must_write()
        write_json(self.path / "manifest.json", manifest, MANIFEST_FORMAT)

    def finish(self, report: dict[str, Any]) -> None:
        """Write report.json and the model's card, mark the run finished, release the lock."""
        self._must_write()
        write_json(self.path / "report.json", report, REPORT_FORMAT)
        now = utc_now()
        if self.model_path.is_dir():
            name = f"{self.path.parent.name}/{self.path.name}"
            write_card(card_of_run(name, self.manifest, report, now), self.model_path)
        self.update_manifest(finished_utc=now)
        self.close()

    def _must_write(self) -> None:
        if self._lock is None:
            raise RuntimeError(f"{self.path} was opened for reading, or is closed")

    def _wall_s(self) -> float:
        return round(self._wall_before_s + time.monotonic() - self._opened_mark, 3)

    # --- metrics -----------------------------------------------------------------------------------------------

    def log_metrics(self, row: dict[str, Any]) -> None:
        """Append one row. A number that is not finite becomes null."""
        self._must_write()
        if self._metrics is None:
            self._metrics = open(self.path / "metrics.jsonl", "a", encoding="utf-8")
        self._metrics.write(to_json(row) + "\n")
        self._metrics.flush()

    def read_metrics(self) -> list[dict[str, Any]]:
        """All rows, without a last line that is still being written."""
        return read_rows(self.path / "metrics.jsonl")

    def truncate_metrics(self, last_step: int) -> None:
        """Remove the rows of steps after `last_step`: the resumed run computes them again."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            cut_torn_line(path)
            self.replace_metrics([row for row in self.read_metrics() if row.get("step", 0) <= last_step])
        if (path := self.path / NOTES).exists():
            cut_torn_line(path)
            kept = [row for row in self.read_notes() if row["step"] <= last_step]
            atomic_write_text(path, "".join(to_json(row) + "\n" for row in kept))
        self.together()

    def replace_metrics(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write metrics.jsonl anew."""
        self._must_write()
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        atomic_write_text(self.path / "metrics.jsonl", "".join(to_json(row) + "\n" for row in rows))

    def note(self, step: int, kind: str, text: str) -> None:
        """Append a remark to notes.jsonl for whoever watches the run; `kind`: `sample` or `doctor`."""
        self._must_write()
        with open(self.path / NOTES, "a", encoding="utf-8") as notes:
            notes.write(to_json({"step": step, "kind": kind, "text": text}) + "\n")

    def read_notes(self) -> list[dict[str, Any]]:
        """All remarks, without a last line that is still being written."""
        return read_rows(self.path / NOTES)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], *, keep_last: int = 2, best: bool = False
    ) -> Path:
        """Let `write` fill a folder, then rename it to a checkpoint; remove older ones."""
        self._must_write()
        target = checkpoint_folders.save(self.checkpoints_path, step, write, keep_last=keep_last, best=best)
        self.update_manifest(wall_s=self._wall_s())
        self.together()
        return target

    def mark_best(self) -> None:
        """Make the newest checkpoint the best one."""
        self._must_write()
        newest = self.latest_checkpoint()
        assert newest is not None, "a checkpoint was saved before"
        checkpoint_folders.mark_best(newest)
        self.together()

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return checkpoint_folders.whole_checkpoints(self.checkpoints_path)

    def latest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint. Incomplete ones are skipped with a message."""
        return checkpoint_folders.latest_checkpoint(self.checkpoints_path)

    def best_checkpoint(self) -> Path | None:
        """The checkpoint last saved with `best=True`, if it is complete."""
        return checkpoint_folders.best_checkpoint(self.checkpoints_path)

    def save_model(self, write: Callable[[Path], None]) -> Path:
        """Let `write` fill a folder, then rename it to `model/`."""
        self._must_write()
        replace_folder(self.model_path, write)
        self.together()
        return self.model_path


def sentence_of(error: Exception) -> str:
    """The message about a failure: the text of an error that can be corrected; of a bug, its class name too."""
    text = " ".join(str(error).split())[:FAILURE_CHARS]
    return (
        text if isinstance(error, ZigguratError) and text else f"{type(error).__name__}: {text}".rstrip(": ")
    )


def remove_run(path: Path) -> None:
    """Delete a run folder.

    Raises:
        RunError: the folder is not a run, or a process is writing to it.
    """
    run = Run.open(path)
    with contextlib.closing(take_lock(run.path)):
        _empty(run.path)
        shutil.rmtree(run.path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file that another process may be writing; [] if there is none."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _empty(path: Path) -> None:
    """Remove a run's contents except the lock; the manifest last, so that an interrupted removal can be repeated."""
    for item in sorted(path.iterdir(), key=lambda p: p.name == "manifest.json"):
        if item.name == "lock":
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()
