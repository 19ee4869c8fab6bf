"""Options that several commands share, each spelled and explained once.

A stage (`ziggurat sft`) and a climb (`ziggurat ladder`) both resume, overwrite and print a plan; what that means
differs, so they have an option each. Options of one command alone stand in its file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# --- a stage: its data ------------------------------------------------------------------------------------------------

Data = Annotated[
    list[Path] | None, typer.Option("--data", help="A file to learn from; may be given several times.")
]
Gold = Annotated[
    str | None, typer.Option("--gold", help="A second reward model that checks, and never rewards.")
]
GoldPrompts = Annotated[list[Path] | None, typer.Option("--gold-prompts", help="Prompts of the gold check.")]
SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Leave out rows that are broken or that the template refuses.")
]

# --- a stage: its settings and its run --------------------------------------------------------------------------------

Recipe = Annotated[
    str | None,
    typer.Option("--recipe", "--config", help="A YAML file of settings, or the name of one in recipes/."),
]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="A setting, such as train.steps=500; may be repeated.")
]
Out = Annotated[
    Path | None, typer.Option("--out", help="The run's folder; default: the next one of the ladder.")
]
Ladder = Annotated[
    str | None, typer.Option("--ladder", help="The ladder's name; default: the base's, or 'own'.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue the run where it stopped, to the same bytes.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")]
Seeds = Annotated[
    int | None,
    typer.Option("--seeds", metavar="N", min=2, help="Repeat with N seeds and compare the runs."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Resolve settings, check the data, print the plan, write nothing.")
]

# --- a climb of all stages --------------------------------------------------------------------------------------------

Town = Annotated[int, typer.Option(help="Seed of the town: another number, other residents.", min=0)]
TrainingSeed = Annotated[int, typer.Option(help="Seed of the training.", min=0)]
ClimbName = Annotated[str, typer.Option(help="Folder under $ZIGGURAT_HOME/runs.")]
ServeAfterwards = Annotated[bool, typer.Option(help="Serve the chat page afterwards.")]
ResumeClimb = Annotated[bool, typer.Option(help="Continue a climb that was interrupted.")]
OverwriteClimb = Annotated[bool, typer.Option(help="Replace an earlier climb of this name.")]
PlanOnly = Annotated[bool, typer.Option(help="Print the plan and stop.")]

# --- all kinds --------------------------------------------------------------------------------------------------------

Weights = Annotated[
    str,
    typer.Option(
        "--weights",
        help="auto: as the machine computes best; int8: a byte a weight; int4: half a byte.",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", help="Port of the chat page; by default 8000 or the next free one.", min=0, max=65535
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]
AsJsonList = Annotated[bool, typer.Option("--json", help="Print one JSON list instead.")]
