"""Climbing the whole ladder of a world."""

from __future__ import annotations

from pathlib import Path

from ziggurat.api.available import available_worlds
from ziggurat.api.stages import PathLike


def climb(
    world: PathLike = "town",
    budget: str = "9m",
    *,
    data: PathLike | None = None,
    base: PathLike | None = None,
    scaling: str | None = None,
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
    from ziggurat.ladder.complete import complete, plan
    from ziggurat.ladder.world import Options

    as_text = [None if one is None else str(one) for one in (data, base)]
    planned = plan(
        Options(str(world), data=as_text[0], town=town, base=as_text[1], scaling=scaling),
        available_worlds(),
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
