"""`--seeds N`: one stage, repeated with the seeds s, s + 1, ..., s + N - 1.

The runs are `<ladder>/<stage>-<n>`, `<stage>-<n + 1>`, ..., or `OUT/seed-<s>`, ... where a folder is given. To resume,
the same command is given again: finished runs are left as they are, an interrupted one goes on, the others begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ziggurat.errors import RunError
from ziggurat.files import check_folder
from ziggurat.places import find_run, next_run_path, stage_runs
from ziggurat.runs import Run
from ziggurat.settings import flatten
from ziggurat.stages.launch import Call, Order, assemble, find_models, ladder_of


@dataclass(frozen=True)
class Repetition:
    """One run of the repeated stage."""

    seed: int
    path: Path

    @property
    def begun(self) -> bool:
        return (self.path / "manifest.json").is_file()

    @property
    def finished(self) -> bool:
        return self.begun and Run.open(self.path).finished


def repetitions(order: Order, count: int, *, out: Path | None, ladder: str | None) -> list[Repetition]:
    """The seeds and folders of `count` runs.

    Raises RunError if there is nothing to resume, or if a run of another seed has one of the folders.
    """
    ladder = ladder or ladder_of(order.base)
    if out is not None:
        check_folder(out)
        begun = sorted(_seed_folders(out)) if order.resume else []
        first = begun[0] if begun else _first_seed(order, out)
        return [Repetition(first + k, out / f"seed-{first + k}") for k in range(count)]
    name = order.stage.name
    if not order.resume:
        start, first = next_run_path(ladder, name), _first_seed(order, Path())
    else:
        first = _first_seed(order, find_run(f"{ladder}/{name}"))
        found = [path for _, path in stage_runs(ladder, name) if _seed_of(path) == first]
        if not found:
            raise RunError(
                f"No run of {ladder}/{name} has the seed {first}, with which these runs would begin; give the options "
                "of the first command again, or leave out --resume."
            )
        start = found[-1]
    number = int(start.name.rpartition("-")[2])
    runs = [Repetition(first + k, start.with_name(f"{name}-{number + k}")) for k in range(count)]
    for one in runs:
        if one.path.exists() and _seed_of(one.path) != one.seed:
            raise RunError(
                f"{one.path} is a run of the seed {_seed_of(one.path)}, and the run of the seed {one.seed} would have "
                "this folder; leave out --resume to begin new runs."
            )
    return runs


def calls(order: Order, runs: list[Repetition]) -> Iterator[tuple[Repetition, Call]]:
    """The call of each run that is not finished, assembled when it is its turn.

    A run that has not begun takes what a resumed command leaves out from the first run.
    """
    *sections, last = order.stage.seed.split(".")
    for one in runs:
        if order.resume and one.finished:
            continue
        seed: Any = {last: one.seed}
        for section in reversed(sections):
            seed = {section: seed}
        begun = order.resume and one.begun
        began = one.path if begun else runs[0].path if order.resume else None
        mine = replace(order, settings=[*order.settings, ("--seeds", seed)])
        call = assemble(mine, one.path, began=began)
        yield one, replace(call, order=replace(mine, resume=begun))


def _first_seed(order: Order, began: Path) -> int:
    """The seed that the settings of the command name."""
    parent = find_models(order, began)[order.stage.models[0].argument]
    resolved = order.stage.function("configure")(parent, *order.settings)
    return int(flatten(resolved.config.model_dump())[order.stage.seed])


def _seed_folders(out: Path) -> Iterator[int]:
    for path in out.glob("seed-*"):
        number = path.name.removeprefix("seed-")
        if number.isdecimal() and (path / "manifest.json").is_file():
            yield int(number)


def _seed_of(path: Path) -> int | None:
    if not (path / "manifest.json").is_file():
        return None
    seed: int | None = Run.open(path).manifest.get("seed")
    return seed
