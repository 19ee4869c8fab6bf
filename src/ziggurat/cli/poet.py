"""`ziggurat poet`: the ladder on Chinese verse (`ziggurat ladder --world verse`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ziggurat.cli import options


def poet(
    data: Annotated[Path, typer.Option(help="A file of poems: form, title and lines, one poem a row.")],
    budget: Annotated[
        str, typer.Option(help="Time for everything, exam included, such as 25m or 1h.")
    ] = "25m",
    seed: options.TrainingSeed = 0,
    name: options.ClimbName = "poet",
    serve: options.ServeAfterwards = True,
    port: options.Port = None,
    resume: options.ResumeClimb = False,
    overwrite: options.OverwriteClimb = False,
    dry_run: options.PlanOnly = False,
) -> None:
    """Climb the whole ladder on Chinese verse: poems of a given form and title, and acrostics (藏头诗).

    Needs the extra "verse" (pypinyin). Where the poems come from: docs/verse.md.

    \b
    ziggurat poet --data poems_zh.jsonl.gz                     25 minutes on two cores, then the chat page
    ziggurat poet --data poems_zh.jsonl.gz --budget 10m --no-serve
    ziggurat poet --data poems_zh.jsonl.gz --resume
    """
    from ziggurat.cli.ladder import climb_world
    from ziggurat.ladder.world import Options

    climb_world(
        Options("verse", data=str(data)),
        budget,
        seed=seed,
        name=name,
        serve=serve,
        port=port,
        resume=resume,
        overwrite=overwrite,
        dry_run=dry_run,
    )
