"""Loads models by the names of their runs, each with its card."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import TypeAdapter, ValidationError

from ziggurat.errors import DataError, UsageError
from ziggurat.files import sample_into
from ziggurat.places import find_run, holds_model, model_folder, runs_home, stage_runs
from ziggurat.service.models.apart import apart
from ziggurat.service.models.shelf import Example, ModelCard
from ziggurat.stages.stage import declared

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat, LoadOptions
    from ziggurat.stages.judge import Judge

EXAMPLES_FILE = "examples.json"
"""Questions to try, in the folder of a ladder: `[{"text", "lang", "kind"}, ...]`."""


def expand(names: Sequence[str]) -> list[str]:
    """Replace a ladder's name by the latest finished run of each declared stage that answers; other names stay."""
    expanded: list[str] = []
    for name in names:
        ladder = runs_home() / name
        if "/" in name or not ladder.is_dir():
            expanded.append(name)
            continue
        runs = [stage_runs(name, stage) for stage, one in declared().items() if one.talks]
        ready = [[path for _, path in found if holds_model(path / "model")] for found in runs]
        latest = [f"{name}/{found[-1].name}" for found in ready if found]
        expanded.extend(latest or [name])
    return expanded


def run_name(folder: Path) -> str:
    """`my/ppo-2` for a run under $ZIGGURAT_HOME, the path for anything else."""
    try:
        return folder.resolve().relative_to(runs_home().resolve()).as_posix()
    except ValueError:
        return str(folder)


def split(text: str) -> tuple[str | None, str]:
    """`chat=my/ppo` is (chat, my/ppo); `my/ppo` is (None, my/ppo).

    Raises:
        UsageError: the name has characters other than letters, digits, `.`, `_` and `-`, or the run is missing.
    """
    name, equals, run = text.partition("=")
    if not equals or text.startswith(("/", "./", "../", "~")):
        return None, text
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or not run:
        raise UsageError(f"{text!r} is not a run; write RUN or NAME=RUN, for instance chat=my/ppo.")
    return name, run


def load(text: str, **options: Unpack[LoadOptions]) -> tuple[ModelCard, Chat | Judge]:
    """Load one model, with its card."""
    name, run = split(text)
    return apart(partial(_load, name, find_run(run), options))


def _load(name: str | None, folder: Path, options: LoadOptions) -> tuple[ModelCard, Chat | Judge]:
    from ziggurat.model.cpu.int8 import numerics
    from ziggurat.model.hub.load import is_scalar  # imports torch: only after the name is known

    files = model_folder(folder)
    model: Chat | Judge
    if is_scalar(files):
        from ziggurat.stages.judge import Judge

        model = Judge.load(folder)
        body, is_base = model.model.body, False
    else:
        from ziggurat.dialogue.chat import Chat

        model = Chat.load(folder, **options)
        body, is_base = model.model, model.is_base
    shown = run_name(folder)
    card = ModelCard(
        name=name or (shown if not shown.startswith("/") else folder.name),
        stage=str(_read_json(folder / "manifest.json").get("stage", "")),
        run=shown,
        parameters=model.parameters,
        context=model.context,
        is_base=is_base,
        weights=digest(files),
        numerics=_numerics(numerics(body), options),
    )
    return card, model


def _numerics(computed: str, options: LoadOptions) -> str:
    """What sampled text depends on beside the weights and the seed."""
    fixed = ", batch invariant" if options.get("batch_invariant") else ""
    return computed + fixed + (f", guesses by {draft}" if (draft := options.get("draft")) else "")


def digest(folder: Path) -> str:
    """A hash of a model's weights, configuration and tokenizer.

    Large files are sampled (`files.sample_into`): it distinguishes models; it does not detect manipulation.
    """
    known = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".jinja", ".safetensors"):
            continue
        sample_into(known, path)
    return known.hexdigest()[:16]


class Library:
    """The run behind each served name, and how to load it again."""

    def __init__(self, **options: Unpack[LoadOptions]) -> None:
        self.options = options
        self._runs: dict[str, str] = {}  # as given: my/ppo is its latest run at the time of loading
        self._named: set[str] = set()  # names that were given with NAME=RUN

    def load(self, text: str) -> tuple[ModelCard, Chat | Judge]:
        card, model = load(text, **self.options)
        name, run = split(text)
        self._runs[card.name] = run
        if name or card.name != card.run:
            self._named.add(card.name)
        return card, model

    def again(self, name: str, run: str | None = None) -> tuple[ModelCard, Chat | Judge]:
        """Load the next model of `name`: `run`, or the run that was given at first, looked up again.

        Raises:
            UsageError: the name is unknown, or it is the name of a run and `run` is another one.
            RunError: there is no such run.
        """
        if name not in self._runs:
            raise UsageError(f"{name[:200]} was not loaded from a run, so it cannot be loaded again.")
        folder = find_run(self._runs[name]) if run is None else _by_name(run)
        if name not in self._named and run_name(folder) != name:
            raise UsageError(
                f"{name} is the name of a run and cannot name {run_name(folder)}; "
                f"give it another name, for instance `ziggurat serve chat={self._runs[name]}`."
            )
        return apart(partial(_load, name, folder, self.options))


def _by_name(run: str) -> Path:
    """The folder of a run under $ZIGGURAT_HOME; a path is refused."""
    ladder, _, stage = run.partition("/")
    if all(re.fullmatch(r"[\w-][\w.-]*", part) for part in (ladder, stage)):
        folder = find_run(run)
        if folder.parent == runs_home() / ladder:
            return folder
    raise UsageError(f"{run[:200]!r} is not the name of a run, such as my/ppo-2; paths are refused here.")


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def examples_beside(folders: Sequence[Path]) -> list[Example]:
    """The example questions of the first ladder that has them.

    Raises:
        DataError: its file is malformed.
    """
    for folder in folders:
        path = folder.parent / EXAMPLES_FILE
        if path.is_file():
            try:
                return TypeAdapter(list[Example]).validate_json(path.read_bytes())
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(str(part) for part in first["loc"])
                raise DataError(f"{first['msg']}.", path=path, field=field) from None
    return []
