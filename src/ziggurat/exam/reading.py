"""Finds a task by name, reads its task.yaml strictly and its rows, or makes them by rule.

A task is shipped (`exam/tasks/<name>/`), one's own (`$ZIGGURAT_HOME/tasks/<name>/`), a folder given by its path, or
`<loader>:<path>`: what other people's folders hold, read by a function of LOADERS.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from ziggurat.corpus.rows import read_rows
from ziggurat.errors import DataError, UsageError, did_you_mean
from ziggurat.exam.generators import GENERATORS
from ziggurat.exam.metrics import METRICS
from ziggurat.exam.publishers import PUBLISHERS
from ziggurat.exam.task import Generated, TaskFile
from ziggurat.files import to_json
from ziggurat.home import ziggurat_home
from ziggurat.yaml_text import parse_yaml

if TYPE_CHECKING:
    from ziggurat.exam.candidate import Candidate
    from ziggurat.exam.item import Found, Item
    from ziggurat.exam.switches import Switches

SHIPPED = Path(__file__).parent / "tasks"
TASK_FILE = "task.yaml"
DATA = "$ZIGGURAT_DATA"
HARNESS = "ziggurat.exam.harness.opening:open_yaml"
LOADERS = PUBLISHERS
"""Prefix of a name -> module:function of (path) -> list[Task]: `mmlu:FOLDER`."""

Row = Mapping[str, Any]
WRONG = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, re.error)
"""What code that works on other people's settings and rows raises where they are not as it expects."""
NEEDS_ANSWER = frozenset({"bleu", "choice_letter", "choice_set", "contains", "exact", "number"})
"""Metrics that compare with `answer`."""


class MissingData(UsageError):
    """A task whose rows are elsewhere, and are not there: it is skipped, and listed under what was not measured."""


@dataclass(frozen=True, eq=False)
class Task:
    """A task that can be sat."""

    file: TaskFile
    folder: Path
    given: Sequence[Row] | None = None
    """Rows that a loader read; None: those that the file names."""
    items: Callable[[Task, Switches], list[Item]] | None = None
    """A loader's own way from rows to items; None: `templates.items`."""
    sit: Callable[[Candidate, Task, Sequence[Item], Switches], list[Found]] | None = None
    """A loader's own way to put items to a candidate and to mark; None: that of the form."""
    heeds: frozenset[str] | None = None
    """The switches that these two follow, of `shots`, `think`, `generate`, `samples` and `max_tokens`; None: all that
    the form follows."""
    also: str = ""
    """What else of a loader's files decides figures, or its hash."""
    summary: Callable[[Sequence[Found]], Mapping[str, float]] | None = None
    """A loader's own figures of all that was found, beside the score."""

    @property
    def name(self) -> str:
        return self.file.name

    def follows(self, switch: str) -> bool:
        """Whether a switch has an effect on this task, as far as its loader decides that."""
        return self.heeds is None or switch in self.heeds

    @cached_property
    def rows(self) -> list[Row]:
        """Every row, with its `id`. DataError or UsageError names what is wrong."""
        found = list(self.given) if self.given is not None else _rows(self.file.rows, self.folder)
        return _with_ids(found, self.folder / TASK_FILE)

    @cached_property
    def examples(self) -> list[Row]:
        """The rows of `shots.file`, in its order."""
        if self.file.shots.file is None:
            return []
        return _with_ids(_rows(self.file.shots.file, self.folder), self.folder / TASK_FILE)

    @cached_property
    def sha256(self) -> str:
        """Of everything that decides the figures: task.yaml, as it was read, rows, examples, `also`."""
        known = hashlib.sha256(to_json(self.file.model_dump(mode="json")).encode())
        for row in (*self.rows, *self.examples):
            known.update(to_json(row).encode() + b"\n")
        known.update(self.also.encode())
        return known.hexdigest()

    def text(self, field: Mapping[str, str], language: str) -> str:
        """`title` or `about` in a language, or in any that there is."""
        return field.get(language) or field.get("en") or next(iter(field.values()), "")


def own_tasks() -> Path:
    """The folder of one's own tasks."""
    return ziggurat_home() / "tasks"


def known_tasks() -> dict[str, Path]:
    """Name -> folder of every task that a name finds; one's own before a shipped one."""
    found: dict[str, Path] = {}
    for home in (SHIPPED, own_tasks()):
        for path in sorted(home.glob(f"*/{TASK_FILE}")):
            found[path.parent.name] = path.parent
    return dict(sorted(found.items()))


def open_tasks(name: str, *, trust_code: bool = False) -> list[Task]:
    """The task of a name or of a folder's path; a loader may give several. `*.yaml` is a task file of
    lm-evaluation-harness; `trust_code`: run the Python that it names.

    Raises:
        UsageError: there is none, or its task.yaml is wrong.
    """
    if name.endswith((".yaml", ".yml")) and Path(name).expanduser().is_file():
        opened: list[Task] = resolve(HARNESS)(name, trust_code=trust_code)
        return opened
    prefix, colon, rest = name.partition(":")
    if colon and prefix in LOADERS:
        found: list[Task] = resolve(LOADERS[prefix])(rest)
        return found
    known = known_tasks()
    if name in known:
        return [read_task(known[name])]
    folder = Path(name).expanduser()
    if (folder / TASK_FILE).is_file():
        return [read_task(folder)]
    if folder.is_dir():
        raise UsageError(f"{folder} holds no {TASK_FILE}, so it is no task; docs/exam.md shows one.")
    hint = did_you_mean(name, known) or " `ziggurat exam --list` shows all tasks."
    raise UsageError(f'There is no task "{name}".{hint}')


def read_task(folder: Path) -> Task:
    """The task of a folder. UsageError with the file, the setting and the way out."""
    path = folder / TASK_FILE
    try:
        value = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); write it as UTF-8 text.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f" line {mark.line + 1}"
        raise UsageError(
            f"{path}{line}: not YAML ({getattr(error, 'problem', error)}); mend that line."
        ) from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no settings; it needs name, title, rows, form and others.")
    try:
        file = TaskFile.model_validate(value)
    except ValidationError as error:
        raise UsageError(f"{path}: {_problem(error)}") from None
    if file.name != folder.resolve().name:
        raise UsageError(f"{path}: name is {file.name!r} and the folder {folder.name!r}; give both one name.")
    _check(file, path)
    return Task(file, folder)


def _problem(error: ValidationError) -> str:
    """The first problem as a sentence: the setting, what is wrong, what is allowed."""
    first = error.errors()[0]
    same = [one for one in error.errors() if one["loc"][:1] == first["loc"][:1]]
    detail = max(same, key=lambda one: len(one["loc"]))  # of a union the part that was meant
    parts = [part for part in detail["loc"] if part not in ("str", "Generated", "list[str]")]
    where = ".".join(str(part) for part in parts)
    if detail["type"] == "extra_forbidden":
        return f"{where} is no setting of a task.{did_you_mean(str(parts[-1]), TaskFile.model_fields)}"
    if detail["type"] == "missing":
        return f"{where} is missing; a task needs it."
    message = detail["msg"]
    return f"{where} is {detail['input']!r:.80}; {message[:1].lower()}{message[1:].rstrip('.')}."


def _check(file: TaskFile, path: Path) -> None:
    """What fields must say together."""
    problem = ""
    if file.metric is not None and file.metric.name not in METRICS:
        hint = did_you_mean(file.metric.name, METRICS) or f" There are {', '.join(sorted(METRICS))}."
        problem = f"metric.name is {file.metric.name!r}, which is no metric.{hint}"
    elif isinstance(file.rows, Generated) and file.rows.generate not in GENERATORS:
        hint = did_you_mean(file.rows.generate, GENERATORS) or f" There are {', '.join(sorted(GENERATORS))}."
        problem = f"rows.generate is {file.rows.generate!r}, which is no generator.{hint}"
    elif file.form in ("choice", "answer", "code") and file.prompt is None:
        problem = f"the form {file.form} needs a prompt."
    elif file.form == "choice" and (file.choices is None or file.answer is None):
        problem = "the form choice needs choices and answer."
    elif file.form == "answer" and file.metric and file.metric.name in NEEDS_ANSWER and file.answer is None:
        problem = f"the metric {file.metric.name} compares with `answer`; add it."
    elif file.form == "answer" and file.metric is None:
        problem = f"the form answer needs a metric; there are {', '.join(sorted(METRICS))}."
    if problem:
        raise UsageError(f"{path}: {problem}")


def _rows(rows: str | Generated, folder: Path) -> list[Row]:
    if isinstance(rows, Generated):
        make = resolve(GENERATORS[rows.generate])
        try:
            made: list[Row] = make(rows.count, rows.seed, **rows.settings)
        except TypeError as error:
            raise UsageError(
                f"{folder / TASK_FILE}: rows.settings do not fit the generator {rows.generate} ({error})."
            ) from None
        return made
    return [row for _, row in read_rows(data_path(rows, folder))]


def data_path(written: str, folder: Path) -> Path:
    """A file that a task names: beside task.yaml, or below $ZIGGURAT_DATA (also compressed, `.gz`).

    Raises:
        MissingData: the task needs a folder of data that is not there, or does not hold the file.
    """
    if not written.startswith(f"{DATA}/"):
        return folder / written
    home = os.environ.get("ZIGGURAT_DATA")
    if not home:
        raise MissingData(
            f"the task {folder.name} reads {written}, and ZIGGURAT_DATA is not set; "
            "set it to the folder that holds the file."
        )
    path = Path(home).expanduser() / written.removeprefix(f"{DATA}/")
    for found in (path, path.with_name(f"{path.name}.gz")):
        if found.is_file():
            return found
    raise MissingData(f"the task {folder.name} reads {written}, and there is no {path}; put the file there.")


def _with_ids(rows: Sequence[Row], path: Path) -> list[Row]:
    """Rows with a text `id`, their own or their number from 1; DataError where two have one id."""
    found: list[Row] = []
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        name = str(row.get("id", number))
        if name in seen:
            raise DataError(f"two rows have the id {name!r}; give each row its own.", path=path)
        seen.add(name)
        found.append({**row, "id": name})
    return found


def resolve(target: str) -> Any:
    """The function that `module:function` names; imported when it is first needed."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
