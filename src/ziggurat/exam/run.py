"""Sits a task: batch after batch, each written at once, so that a killed exam goes on and ends with the same bytes.

    $ZIGGURAT_HOME/exams/<model, / as +>--<12 of its hash>/<task>@<version>--<12 of the settings' hash>/
      settings.json    the model and its hash, the task and its hash, every switch, the version of the code
      rows.jsonl       what was found, a line an item, in the order of the items
      figure.json      the figures (figures.py); written last

A finished result is read, not computed again. It belongs to the hashes of the model's files, of the task with its rows,
and of all switches; another version of Ziggurat is another result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ziggurat.errors import DataError, RunError, ZigguratError
from ziggurat.exam.candidate import Candidate, with_cuts
from ziggurat.exam.figures import clean_part, figure
from ziggurat.exam.forms import form
from ziggurat.exam.forms.answer import ask_of
from ziggurat.exam.forms.answer import settings_of as metric_settings
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.metrics import basis as metric_basis
from ziggurat.exam.reading import WRONG, Task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items as items_of
from ziggurat.files import (
    atomic_write_text,
    cut_torn_line,
    drop_lock,
    read_json,
    take_lock,
    to_json,
    write_json,
)
from ziggurat.home import ziggurat_home
from ziggurat.lineage import code_version

BATCH, WIDE_BATCH = 64, 256
"""Items that are sat together; a resumed exam begins with a whole batch. Choices take wide ones: what their prompts
share is computed once a batch."""
FORMAT = 1
_NAME_MAX = 120
SETTINGS, ROWS, FIGURE = "settings.json", "rows.jsonl", "figure.json"


def exams_home() -> Path:
    """Where results are kept."""
    return ziggurat_home() / "exams"


@dataclass(frozen=True)
class Result:
    """A finished result on disk."""

    folder: Path
    settings: Mapping[str, Any]
    figure: Mapping[str, Any]

    @cached_property
    def found(self) -> list[Found]:
        return read_found(self.folder / ROWS)


def resolved(candidate: Candidate, task: Task, switches: Switches) -> Switches:
    """The switches with everything that the task or the candidate decides."""
    file = task.file
    switches = dataclasses.replace(
        switches,
        think=switches.think and task.follows("think"),
        generate=switches.generate and file.form == "choice" and task.follows("generate"),
        samples=1 if file.form == "dialogue" else switches.samples,  # a conversation goes on with one answer
    )
    ask = ask_of(task, switches)
    chat = switches.chat and candidate.chats and not file.raw
    writes = file.form in ("answer", "dialogue", "code") or switches.generate
    asked = file.form in ("choice", "answer", "code")
    own = file.shots.count if task.heeds is None else None  # else the loader's files say how many
    return dataclasses.replace(
        switches,
        model=candidate.name,
        shots=(own if switches.shots is None or not task.follows("shots") else switches.shots)
        if asked
        else 0,
        think=switches.think and writes and asked,
        chat=chat and file.form != "text",
        samples=(ask.samples if writes else 1) if task.follows("samples") else None,
        temperature=(ask.temperature if writes else 0.0) if task.follows("samples") else None,
        max_tokens=(ask.max_tokens if writes else 1) if task.follows("max_tokens") else None,
        judge=switches.judge if file.metric is not None else None,
    )


def settings_of(candidate: Candidate, task: Task, switches: Switches) -> dict[str, Any]:
    """settings.json; `switches` are resolved. `metric_sha256`: of what the metric reads, such as a judge."""
    read = metric_basis(task.file.metric.name) if task.file.metric is not None else None
    known = read(metric_settings(task, switches)) if read is not None else ""
    return {
        "model": candidate.name,
        "sha256": candidate.sha256,
        "task": task.name,
        "version": task.file.version,
        "task_sha256": task.sha256,
        **({"metric_sha256": known} if known else {}),
        "switches": {key: value for key, value in dataclasses.asdict(switches).items() if key != "model"},
        "code": code_version(),
    }


def folder_of(settings: Mapping[str, Any]) -> Path:
    """The folder of a result."""
    bound = {
        "task": settings["task_sha256"],
        "switches": settings["switches"],
        "code": settings["code"]["ziggurat"],
    }
    if "metric_sha256" in settings:
        bound["metric"] = settings["metric_sha256"]
    known = hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()
    name = str(settings["model"]).replace("/", "+")[-_NAME_MAX:]
    model = f"{name}--{settings['sha256'][:12]}"
    return exams_home() / model / f"{settings['task']}@{settings['version']}--{known[:12]}"


def sit(
    candidate: Candidate,
    task: Task,
    switches: Switches,
    *,
    overlap: Mapping[str, bool] | None = None,
    fresh: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Let a candidate sit a task, or read its finished result.

    `overlap`: see `figures.figure`. `fresh`: sit again. `progress(done, all)` after each batch.

    Raises:
        UsageError, DataError: the candidate cannot sit it, or a row is wrong.
    """
    switches = resolved(candidate, task, switches)
    settings = settings_of(candidate, task, switches)
    folder = folder_of(settings)
    if (folder / FIGURE).is_file() and not fresh:
        return _looked_again(read_result(folder), overlap)
    with _in_one_sentence(task):
        items = items_of(task, switches)
    folder.mkdir(parents=True, exist_ok=True)
    lock = take_lock(folder)
    try:
        if fresh:
            for name in (FIGURE, ROWS):
                (folder / name).unlink(missing_ok=True)
        write_json(folder / SETTINGS, settings, FORMAT)
        found = _sit(candidate, task, switches, items, folder / ROWS, progress)
        document = figure(task, items, found, switches, overlap)
        write_json(folder / FIGURE, document, FORMAT)
    finally:
        drop_lock(lock)
        (folder / "lock").unlink(missing_ok=True)
    return Result(folder, settings, document)


@contextmanager
def _in_one_sentence(task: Task) -> Iterator[None]:
    """What a task's own code, settings or rows make fail is one sentence; errors of the machine stay what they are."""
    try:
        yield
    except ZigguratError:
        raise
    except WRONG as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise DataError(
            f"the task {task.name} cannot be sat ({why}); correct its file or its rows.", path=task.folder
        ) from error


def _looked_again(result: Result, overlap: Mapping[str, bool] | None) -> Result:
    """A finished result with what the corpora hold now: they may have been found, or lost, since it was sat."""
    if overlap is None:
        return result
    kept = {
        key: value for key, value in result.figure.items() if key not in ("contaminated", "judged", "clean")
    }
    document = kept | clean_part(result.found, overlap)
    if document == result.figure:
        return result
    write_json(result.folder / FIGURE, document, FORMAT)
    return Result(result.folder, result.settings, document)


def _sit(
    candidate: Candidate,
    task: Task,
    switches: Switches,
    items: Sequence[Item],
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> list[Found]:
    """Everything that was found; batches that are on disk are read."""
    size = WIDE_BATCH if task.file.form == "choice" or task.sit is not None else BATCH
    done = _whole_batches(path, items, size)
    sitting = task.sit or form(task.file.form)
    with open(path, "ab") as file:
        for start in range(len(done), len(items), size):
            if progress is not None:
                progress(start, len(items))
            batch = items[start : start + size]
            drawn = dataclasses.replace(switches, seed=switches.seed * 1_000_003 + start)
            with _in_one_sentence(task):
                new = sitting(candidate, task, batch, drawn)
            if task.file.form != "dialogue" and task.sit is None:  # these mark themselves what was cut
                new = with_cuts(candidate, new)
            file.write("".join(to_json(dataclasses.asdict(one)) + "\n" for one in new).encode())
            file.flush()
            os.fsync(file.fileno())
            done += new
    return read_found(path)  # as a second call will read it: numbers after JSON


def _whole_batches(path: Path, items: Sequence[Item], size: int) -> list[Found]:
    """The finished batches of a killed exam; what comes after them is cut off."""
    if not path.is_file():
        return []
    cut_torn_line(path)
    lines = [f"{line}\n" for line in path.read_text(encoding="utf-8").split("\n") if line]
    kept = len(lines) if len(lines) >= len(items) else len(lines) - len(lines) % size
    kept = min(kept, len(items))
    if kept < len(lines):
        atomic_write_text(path, "".join(lines[:kept]))
    found = [_found(line, path) for line in lines[:kept]]
    if [one.id for one in found] != [item.id for item in items[:kept]]:
        raise RunError(
            f"{path} holds other items than the task; remove the folder, or sit again with --fresh."
        )
    return found


def read_result(folder: Path) -> Result:
    """A finished result. RunError where a file is damaged."""
    return Result(folder, read_json(folder / SETTINGS, FORMAT), read_json(folder / FIGURE, FORMAT))


def read_found(path: Path) -> list[Found]:
    """rows.jsonl. RunError where a line is damaged."""
    return [_found(line, path) for line in path.read_text(encoding="utf-8").split("\n") if line]


def _found(line: str, path: Path) -> Found:
    try:
        row = json.loads(line)
        mark = Mark(**row.pop("mark"))
        return Found(**{**row, "answers": tuple(row["answers"]), "mark": mark})
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} is damaged ({error}); sit again with --fresh.") from None


def all_results() -> list[Result]:
    """Every finished result on this machine, by folder."""
    return [read_result(path.parent) for path in sorted(exams_home().glob(f"*/*/{FIGURE}"))]
