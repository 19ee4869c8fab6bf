"""From run names to loaded models with their cards: what `serve` does before it listens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from ziggurat.errors import DataError
from ziggurat.places import find_run, runs_home, stage_runs
from ziggurat.service.shelf import Example, ModelCard

if TYPE_CHECKING:
    from ziggurat.dialogue.chat import Chat

LADDER_STAGES = ("pretrain", "sft", "ppo")
"""What one can talk to, bottom first; `reward` gives scores, not words."""

EXAMPLES_FILE = "examples.json"
"""Questions to try, beside the runs of a ladder: `[{"text", "lang", "kind"}, ...]`."""


def expand(names: Sequence[str]) -> list[str]:
    """A ladder's name stands for the latest finished run of each stage that talks; other names stay as they are."""
    expanded: list[str] = []
    for name in names:
        ladder = runs_home() / name
        if "/" in name or not ladder.is_dir():
            expanded.append(name)
            continue
        runs = [stage_runs(name, stage) for stage in LADDER_STAGES]
        ready = [[path for _, path in found if (path / "model" / "config.json").is_file()] for found in runs]
        latest = [f"{name}/{found[-1].name}" for found in ready if found]
        expanded.extend(latest or [name])
    return expanded


def run_name(folder: Path) -> str:
    """`town/ppo-2` for a run under $ZIGGURAT_HOME, the whole path for anything else."""
    try:
        return folder.resolve().relative_to(runs_home().resolve()).as_posix()
    except ValueError:
        return str(folder)


def load(name: str) -> tuple[ModelCard, Chat]:
    """One model, ready to talk, and what the page tells about it."""
    folder = find_run(name)
    from ziggurat.dialogue.chat import Chat  # after the name is known to be good: it brings torch

    chat = Chat.load(str(folder))
    manifest = _read_json(folder / "manifest.json")
    shown = run_name(folder)
    card = ModelCard(
        name=shown if not shown.startswith("/") else folder.name,
        stage=str(manifest.get("stage", "")),
        run=shown,
        parameters=chat.parameters,
        context=chat.context,
        is_base=chat.is_base,
    )
    return card, chat


def _read_json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def examples_beside(folders: Sequence[Path]) -> list[Example]:
    """The example questions of the first ladder that has some."""
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
