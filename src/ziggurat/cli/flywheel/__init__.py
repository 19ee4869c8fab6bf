"""`ziggurat flywheel`: judgements become a dataset version, a turn, a gate, a release; and back."""

from __future__ import annotations

import typer

from ziggurat.cli.flywheel import data, judging, serving, turning

app = typer.Typer(
    help="Turn people's judgements into the next release: build, turn, gate, sign, promote, roll back.",
    no_args_is_help=True,
)

for command in (
    data.status,
    data.build,
    turning.turn,
    turning.cancel,
    judging.gate,
    judging.sign,
    serving.promote,
    serving.rollback,
):
    app.command()(command)
app.command("test")(serving.online_test)
app.command()(serving.explain)
app.command()(turning.work)
