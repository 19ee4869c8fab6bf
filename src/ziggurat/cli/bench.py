"""`ziggurat bench`: how fast this machine writes, against its own limits."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ziggurat.console import err, out, table

app = typer.Typer(help="Measure generation here, against this machine's limits.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Measure generation here, against this machine's limits."""


@app.command()
def decode(
    run: Annotated[
        str | None, typer.Argument(help="A run or a model folder; without one, a random model of 134M.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="bf16, fp32, or what is best here.")] = "auto",
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Also measure others that are installed.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Tokens a second, alone and in a batch, and what the machine could do at most.

    \b
    ziggurat bench decode
    ziggurat bench decode town/ppo --no-peers
    """
    from ziggurat.evaluation.speed import measure_decoding, reference_model
    from ziggurat.training.precision import choose_dtype

    chosen, _ = choose_dtype(dtype)
    if run is None:
        model = reference_model(chosen)
    else:
        from ziggurat.model.hub.load import load_model
        from ziggurat.places import model_folder

        model = load_model(model_folder(run), dtype=chosen)
    machine, figures = measure_decoding(model, peers=peers, tell=lambda name: err.print(f"{name} ..."))
    if as_json:
        found = [vars(figure) for figure in figures]
        out.out(json.dumps({"machine": vars(machine), "dtype": str(chosen), "figures": found}))
        return
    names = list(figures[0].peers)
    rows = [
        [
            figure.case,
            f"{figure.tokens_per_s:,.0f}",
            f"{figure.limit:,.0f}",
            f"{figure.tokens_per_s / figure.limit:.0%}",
            *(f"{figure.peers[name]:,.0f}" for name in names),
        ]
        for figure in figures
    ]
    out.print(
        f"{machine.gflops_bf16:,.0f} GFLOP/s bf16, {machine.gflops_fp32:,.0f} fp32, "
        f"{machine.gb_per_s:.0f} GB/s, {machine.threads} threads; {str(chosen).removeprefix('torch.')}; tokens a second"
    )
    columns = ["ziggurat", "limit", "of it", *names]
    out.print(table(None, ["", *columns], rows, right=columns))
