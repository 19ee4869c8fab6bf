"""A whole climb: planned, then all stages, the exam, the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ziggurat.files import check_folder, drop_lock, take_lock
from ziggurat.ladder.climb import Climb, begin, read_plan
from ziggurat.ladder.held_out import examine
from ziggurat.ladder.plan import parse_budget
from ziggurat.ladder.report import Exam, write_report
from ziggurat.ladder.stages import climb_stages
from ziggurat.ladder.world import Options, World, WorldFactory, default_name, open_world
from ziggurat.places import check_room, ladder_folder


def plan(
    chosen: Options,
    worlds: Mapping[str, WorldFactory],
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
    """The climb of the chosen one of `worlds`, planned and (with `keep`) frozen in its folder; nothing is trained.

    Raises UsageError for a world that is neither known nor a folder, and for a budget that is no time; RunError for a
    name that cannot be a folder's, and as `begin` does.
    """
    budget_s = parse_budget(budget)
    world = _opened(chosen, worlds, name, resume)
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


def check(
    chosen: Options,
    worlds: Mapping[str, WorldFactory],
    budget: str,
    *,
    name: str | None,
    controls: bool,
    resume: bool,
    overwrite: bool,
) -> str:
    """The name of the climb's folder, after all that can be refused before anything is measured; nothing is written.

    Raises as `plan` does.
    """
    parse_budget(budget)
    world = _opened(chosen, worlds, name, resume)
    if controls:
        world.need_controls()
    folder = ladder_folder(world.name if name is None else name)
    check_folder(folder)
    if resume:
        read_plan(folder)
    else:
        check_room(folder, overwrite=overwrite)
    world.check()
    return folder.name


def _opened(chosen: Options, worlds: Mapping[str, WorldFactory], name: str | None, resume: bool) -> World:
    """The world that was chosen; to resume, the world that the climb of this name began with."""
    folder = ladder_folder(default_name(chosen) if name is None else name)
    if resume:
        begun = Options(**read_plan(folder)["world"])
        chosen = dataclasses.replace(begun, data=chosen.data or begun.data)
    return open_world(chosen, worlds)


def complete(climb: Climb, *, resume: bool = False, controls: bool = False) -> Exam:
    """Train every stage that the world has data for, hold its exam, write exam/report.json and report.html.

    controls: also examine other uses of PPO's time; needs `World.has_controls`.
    """
    lock = take_lock(climb.folder)  # whoever watches the climb sees by it that it goes on between two runs
    try:
        climb_stages(climb, resume=resume)
        exam = examine(climb)
        write_report(climb, exam)
        if controls:
            exam = climb.world.controls(climb, exam)
            write_report(climb, exam)
        return exam
    finally:
        drop_lock(lock)
