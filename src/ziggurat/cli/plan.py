"""`ziggurat plan STAGE ...`: what a run takes of this machine, before its first step; options as of the stage.

The speed of this machine is measured, which takes about a second; nothing is written.
"""

from __future__ import annotations

import typer

from ziggurat.cli.stages import command
from ziggurat.stages.stage import declared

app = typer.Typer(help="Memory and time of a run before it begins: ziggurat plan sft --base ... --data ...")
for _name, _stage in declared().items():
    app.command(_name)(command(_stage, plan=True))
