"""`ziggurat plan STAGE ...`: what a run takes of this machine, before its first step; options as of the stage.

The speed of this machine is measured, which takes about a second; nothing is written.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ziggurat.cli.stages import command
from ziggurat.stages.stage import declared

app = typer.Typer(help="Memory and time of a run before it begins: ziggurat plan sft --base ... --data ...")
for _name, _stage in declared().items():
    app.command(_name)(command(_stage, plan=True))


@app.command()
def scale(
    model: Annotated[str, typer.Option(help="A preset, on --gpus of --kind; without it all tables.")] = "",
    gpus: Annotated[int, typer.Option(help="How many.")] = 0,
    kind: Annotated[str, typer.Option(help="A100, H100 or V100.")] = "A100",
) -> None:
    """Memory, network, days and money of the published GPT-3 and LLaMA sizes: the tables of docs/scale.md.

    \b
    ziggurat plan scale
    ziggurat plan scale --model llama-13b --gpus 64 --kind H100
    """
    from ziggurat.errors import UsageError
    from ziggurat.model.presets import PUBLISHED
    from ziggurat.training.scale import runs, scaled, tables

    if not model:
        typer.echo(tables())
        return
    if model not in PUBLISHED or kind not in ("A100", "H100", "V100"):
        raise UsageError(
            f"--model is {model!r} and --kind {kind!r}; choose one of {', '.join(PUBLISHED)} and of A100, H100, V100."
        )
    typer.echo(runs([scaled(model, gpus, kind)]))


@app.command()
def size(
    budget: Annotated[str, typer.Option(help="Time for pre-training, such as 10m, 8h or 24h.")],
    scaling: Annotated[
        str,
        typer.Option(
            help="The `ziggurat scaling` series whose law decides; without it 20 tokens a parameter."
        ),
    ] = "",
    vocabulary: Annotated[
        int, typer.Option(help="Of the model; default: that of the series, else 2048.", min=0)
    ] = 0,
    context: Annotated[
        int, typer.Option(help="Tokens of a row; default: that of the series, else 256.", min=0)
    ] = 0,
) -> None:
    """Size and tokens of a new model for a budget on this machine, whose speed is measured.

    \b
    ziggurat plan size --budget 8h
    ziggurat plan size --budget 8h --scaling wiki
    """
    from ziggurat.exam.scaling.advice import advised

    typer.echo(advised(budget, scaling, vocabulary, context))
