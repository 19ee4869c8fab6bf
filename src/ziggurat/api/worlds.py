"""Climbing the whole ladder of a world."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ziggurat.api.arguments import PathLike
from ziggurat.api.available import available_worlds

if TYPE_CHECKING:
    from ziggurat.ladder.climb import Climb
    from ziggurat.ladder.world import Options, World


def climb(
    world: PathLike = "town",
    budget: str = "9m",
    *,
    data: PathLike | None = None,
    base: PathLike | None = None,
    town: int = 1,
    seed: int = 0,
    name: str | None = None,
    fixed_plan: bool = False,
    controls: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Climb all stages of a world within a time, hold the exam, write the report: `ziggurat ladder` without the server.

    world: a name of `available_worlds()`, or a folder of files. budget: such as "90s", "10m" or "1h". The other
    parameters are the options of `ziggurat ladder`. Returns the climb's folder; exam/report.json is in it.
    Raises UsageError, DataError, RunError, ModelFolderError, TrainingError.
    """
    from ziggurat.ladder.complete import complete
    from ziggurat.ladder.world import Options

    as_text = [None if one is None else str(one) for one in (data, base)]
    planned = plan(
        Options(str(world), data=as_text[0], town=town, base=as_text[1]),
        budget,
        seed=seed,
        name=name,
        fixed_plan=fixed_plan,
        controls=controls,
        resume=resume,
        overwrite=overwrite,
    )
    complete(planned, resume=resume, controls=controls)
    return planned.folder


def plan(
    chosen: Options,
    budget: str,
    *,
    seed: int,
    name: str | None,
    fixed_plan: bool,
    controls: bool,
    resume: bool,
    overwrite: bool,
    keep: bool = True,
) -> Climb:
    """The climb that was asked for, planned and (with `keep`) frozen in its folder; nothing is trained."""
    from ziggurat.files import check_folder
    from ziggurat.ladder.climb import begin
    from ziggurat.ladder.plan import parse_budget
    from ziggurat.places import ladder_folder

    budget_s = parse_budget(budget)
    world = open_world(chosen, name=name, resume=resume)
    if controls:
        world.need_controls()
    folder = ladder_folder(world.name if name is None else name)
    check_folder(folder)
    return begin(
        world,
        budget_s,
        seed=seed,
        name=folder.name,
        fixed_plan=fixed_plan,
        resume=resume,
        overwrite=overwrite,
        keep=keep,
    )


def open_world(chosen: Options, *, name: str | None = None, resume: bool = False) -> World:
    """The world that was chosen; to resume, the world that the climb of this name began with.

    Raises UsageError for a world that is neither known nor a folder, RunError for a name that cannot be a folder's, or
    where there is nothing to resume.
    """
    from ziggurat.ladder import world
    from ziggurat.ladder.climb import read_plan
    from ziggurat.places import ladder_folder

    if name is not None:
        ladder_folder(name)
    if resume:
        plan = read_plan(ladder_folder(world.default_name(chosen) if name is None else name))
        begun = world.Options(**plan["world"])
        chosen = dataclasses.replace(begun, data=chosen.data or begun.data)
    return world.open_world(chosen, available_worlds())
