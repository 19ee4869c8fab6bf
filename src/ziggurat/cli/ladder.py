"""`ziggurat ladder`: all stages on a world (the town, verse, a folder of your own files), exam, report, chat.

`ziggurat poet` is the same on verse.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import err, out, table

if TYPE_CHECKING:
    from ziggurat.ladder.world import Options


def ladder(
    world: Annotated[
        str,
        typer.Option(help='"town", "verse", the name of an installed world, or a folder of your own files.'),
    ] = "town",
    budget: Annotated[str, typer.Option(help="Time for the four stages, such as 2m, 10m or 1h.")] = "9m",
    data: Annotated[
        Path | None, typer.Option(help="A file that the world reads, such as the poems of verse.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="A model to start from (a run or a folder), for your own files.")
    ] = None,
    scaling: Annotated[
        str | None,
        typer.Option(
            help="Size of a new model for your own files by the law of this `ziggurat scaling` series."
        ),
    ] = None,
    town: options.Town = 1,
    seed: options.TrainingSeed = 0,
    name: Annotated[
        str | None, typer.Option(help="Folder under $ZIGGURAT_HOME/runs; default: the world's name.")
    ] = None,
    fixed_plan: Annotated[
        bool, typer.Option(help="The recipe's amounts as they are, whatever this machine's speed.")
    ] = False,
    controls: Annotated[
        bool,
        typer.Option("--controls", help="Afterwards also examine more SFT in PPO's time, and best of four."),
    ] = False,
    serve: options.ServeAfterwards = True,
    port: options.Port = None,
    resume: options.ResumeClimb = False,
    overwrite: options.OverwriteClimb = False,
    dry_run: options.PlanOnly = False,
) -> None:
    """Climb the whole ladder on a world: pre-training, SFT, reward model and PPO, then the exam.

    A folder of your own files holds some of documents.*, demonstrations.*, comparisons.*, prompts.* and held-out.* (or
    folders of these names). A stage whose files are missing is left out. See docs/data.md for the formats.

    \b
    ziggurat ladder                                 ten minutes on two cores, then the chat page
    ziggurat ladder --budget 2m --no-serve
    ziggurat ladder --town 7 --seed 1 --name seven
    ziggurat ladder --world my-files --budget 1h
    ziggurat ladder --world my-files --budget 1h --scaling wiki
    ziggurat ladder --world my-files --base models/Qwen3-0.6B-Base --dry-run
    ziggurat ladder --world verse --data poems_zh.jsonl.gz --budget 25m
    """
    from ziggurat.ladder.world import Options

    chosen = Options(world, data=str(data) if data else None, town=town, base=base, scaling=scaling)
    climb_world(
        chosen, budget, seed=seed, name=name, fixed_plan=fixed_plan, controls=controls, serve=serve, port=port,
        resume=resume, overwrite=overwrite, dry_run=dry_run,
    )  # fmt: skip


def real_models() -> list[str]:
    """The embedded real model, where `ziggurat models get smollm2` fetched it: to be offered before the climb's."""
    from ziggurat.places import models_home

    wanted = not os.environ.get("ZIGGURAT_NO_MODELS")
    return ["smollm2"] if wanted and (models_home() / "smollm2" / "config.json").is_file() else []


def climb_world(
    chosen: Options,
    budget: str,
    *,
    seed: int,
    name: str | None,
    fixed_plan: bool = False,
    controls: bool = False,
    serve: bool,
    port: int | None,
    resume: bool,
    overwrite: bool,
    dry_run: bool,
) -> None:
    """Plan, climb, examine, report; with `serve` in a process of its own, while the page is open already."""
    if serve and not dry_run:
        _beside_the_page(
            chosen, budget, seed=seed, name=name, fixed_plan=fixed_plan, controls=controls, port=port,
            resume=resume, overwrite=overwrite,
        )  # fmt: skip
        return
    from ziggurat.api.available import available_worlds
    from ziggurat.ladder.climb import describe_plan, shortfall
    from ziggurat.ladder.complete import complete, plan
    from ziggurat.ladder.report import report_path, terminal_tables
    from ziggurat.ladder.targets import summarize

    climb = plan(
        chosen,
        available_worlds(),
        budget,
        seed=seed,
        name=name,
        fixed_plan=fixed_plan,
        controls=controls,
        resume=resume,
        overwrite=overwrite,
        keep=not dry_run,
    )
    err.print(table("The plan", ["stage", "work", "about"], describe_plan(climb)))
    if note := shortfall(climb):
        err.print(note)
    if dry_run:
        return
    exam = complete(climb, resume=resume, controls=controls)
    for one in terminal_tables(climb, exam):
        out.print(table(one.title, [*one.columns], one.rows))
        out.print("")
    if exam.targets:
        out.print(summarize(exam.targets))
    out.print(f"The report: {report_path(climb)}")


def _beside_the_page(
    chosen: Options, budget: str, *, seed: int, name: str | None, port: int | None, **flags: bool
) -> None:
    """Open the page at once, with the climb beside it. Ends with the climb's status where it cannot be planned."""
    from ziggurat.api.available import available_worlds
    from ziggurat.ladder.complete import check
    from ziggurat.service.options import ServeOptions
    from ziggurat.service.server import serve as serve_page

    ladder = check(
        chosen, available_worlds(), budget, name=name,
        controls=flags["controls"], resume=flags["resume"], overwrite=flags["overwrite"],
    )  # fmt: skip
    options = ["--world", chosen.name, "--budget", budget, "--town", str(chosen.town), "--seed", str(seed)]
    for option, value in (
        ("--data", chosen.data),
        ("--base", chosen.base),
        ("--scaling", chosen.scaling),
        ("--name", name),
    ):
        options += [option, value] if value is not None else []
    options += [f"--{flag.replace('_', '-')}" for flag, given in flags.items() if given]
    status = serve_page(ServeOptions(runs=real_models(), climbs={ladder: options}, port=port))
    if status:
        raise typer.Exit(status)
