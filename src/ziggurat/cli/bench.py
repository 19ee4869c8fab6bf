"""`ziggurat bench`: the speed of generation on this machine, against the machine's limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ziggurat.cli import options
from ziggurat.console import err, out, table
from ziggurat.files import to_json

if TYPE_CHECKING:
    from ziggurat.evaluation.serving import Plan, Report

app = typer.Typer(help="Measure generation against this machine's limits.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Measure generation against this machine's limits."""


@app.command()
def decode(
    run: Annotated[
        str | None, typer.Argument(help="A run or a model folder; without one, a random model of 134M.")
    ] = None,
    dtype: Annotated[str, typer.Option("--dtype", help="bf16, fp32, or what is best here.")] = "auto",
    weights: options.Weights = "auto",
    draft: Annotated[
        str | None, typer.Option("--draft", metavar="RUN", help="A smaller model that drafts tokens for RUN.")
    ] = None,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help="Also measure other engines that are installed.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure tokens a second, alone and in a batch, beside the most that this machine allows.

    \b
    ziggurat bench decode
    ziggurat bench decode --weights int8
    ziggurat bench decode smollm2 --weights int4
    ziggurat bench decode town/ppo --no-peers
    """
    from ziggurat.evaluation.speed import measure_decoding, reference_model
    from ziggurat.model.cpu.quantized import BITS, load_to_serve, numerics, quantize
    from ziggurat.places import model_folder
    from ziggurat.training.device import choose_device
    from ziggurat.training.precision import choose_dtype

    chosen, _ = choose_dtype(dtype)
    device, _ = choose_device()
    if run is None:
        model = reference_model(chosen).to(device)
    else:
        model = load_to_serve(model_folder(run), chosen, weights, device=device)
    if run is None and weights in BITS:
        quantize(model, bits=BITS[weights])
    small = None if draft is None else load_to_serve(model_folder(draft), chosen, device=device)
    machine, figures = measure_decoding(
        model, small=small, peers=peers, tell=lambda name: err.print(f"{name} ...")
    )
    if as_json:
        found = [vars(figure) for figure in figures]
        out.out(to_json({"machine": vars(machine), "dtype": numerics(model), "figures": found}))
        return
    names = list(figures[0].peers)
    columns = ["ziggurat", "limit", "of it", *names, *([] if draft is None else ["guesses taken"])]
    rows = [
        [
            figure.case,
            f"{figure.tokens_per_s:,.0f}",
            f"{figure.limit:,.0f}",
            f"{figure.tokens_per_s / figure.limit:.0%}",
            *(f"{figure.peers[name]:,.0f}" for name in names),
            *([] if draft is None else ["" if figure.taken is None else f"{figure.taken:.0%}"]),
        ]
        for figure in figures
    ]
    out.print(
        f"{machine.gflops_bf16:,.0f} GFLOP/s bf16, {machine.gflops_fp32:,.0f} fp32, "
        f"{machine.gb_per_s:.0f} GB/s, {machine.threads} threads; {numerics(model)}; tokens a second"
    )
    out.print(table(None, ["", *columns], rows, right=columns))


@app.command()
def quantization(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run or a model folder.")],
    text: Annotated[list[Path], typer.Option("--text", help="Raw text to predict.")],
    context: Annotated[int, typer.Option(help="Tokens of a window; 0: the model's context.", min=0)] = 0,
    as_json: options.AsJson = False,
) -> None:
    """Measure what int8 and int4 weights cost: one model predicts one text in fp32, as it is served, and in both.

    \b
    ziggurat bench quantization town/ppo --text held_out.txt
    """
    from ziggurat.corpus.files import documents
    from ziggurat.evaluation.quantization import compare
    from ziggurat.places import model_folder

    found = compare(model_folder(run), [d.text for d in documents(text).records], context or None)
    if as_json:
        out.out(to_json([row.to_dict() for row in found]))
        return
    first = found[0].score
    rows = [
        [
            row.numerics,
            f"{row.weight_bytes / 1e6:,.1f}",
            f"{row.score.bits_per_byte:.4f}",
            f"{row.score.perplexity:,.3f}",
            f"{row.score.perplexity / first.perplexity - 1:+.2%}",
            f"{row.agreement:.2%}",
        ]
        for row in found
    ]
    out.print(f"{first.tokens:,} tokens, {first.bytes:,} bytes of text")
    columns = ["weights, MB", "bits per byte", "perplexity", "cost", "same likeliest token"]
    out.print(table(None, ["", *columns], rows, right=columns))


@app.command()
def serve(
    run: Annotated[
        str | None, typer.Argument(help="A run or a model folder; without one, a random model of 134M.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few small requests, as a check.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure requests a second over HTTP against the engine alone, and the latency of each part.

    \b
    ziggurat bench serve
    ziggurat bench serve town/ppo --json
    """
    import dataclasses

    from ziggurat.evaluation.serving import QUICK, Plan, measure_serving
    from ziggurat.training.precision import choose_dtype

    dtype, _ = choose_dtype()
    machine, plan, report = measure_serving(
        run, QUICK if quick else Plan(), dtype=dtype, tell=lambda name: err.print(f"{name} ...")
    )
    if as_json:
        found = {"machine": vars(machine), "dtype": str(dtype), "plan": vars(plan)}
        out.out(to_json({**found, "report": {**dataclasses.asdict(report), "share": report.share}}))
        return
    out.print(
        f"{machine.gflops_bf16:,.0f} GFLOP/s bf16, {machine.gflops_fp32:,.0f} fp32, {machine.gb_per_s:.0f} GB/s, "
        f"{machine.threads} threads; {str(dtype).removeprefix('torch.')}; prompts of {plan.prompt[0]} to "
        f"{plan.prompt[1]} tokens, answers of {plan.answer[0]} to {plan.answer[1]}"
    )
    out.print(table(None, ["", "what", "found", "target"], _serving_rows(plan, report), right=["found"]))


@app.command("app")
def app_load(
    quick: Annotated[bool, typer.Option("--quick", help="A small store and few people, as a check.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Measure the chat product itself: people who chat at once, long chats, long lists, search, memory; no model.

    \b
    ziggurat bench app
    ziggurat bench app --quick --json
    """
    from ziggurat.cli.bench_app import QUICK, Plan, measure

    found = measure(QUICK if quick else Plan())
    if as_json:
        out.out(to_json(found))
        return
    rows = [
        [name, f"{value:,.1f}", f"<= {found['targets'][name]:g}" if name in found["targets"] else ""]
        for name, value in found["found"].items()
        if isinstance(value, int | float)
    ]
    out.print(table("The chat product", ["what", "found", "target"], rows, right=["found", "target"]))
    for note in found["found"]["notes"]:
        out.print(note)


def _serving_rows(plan: Plan, report: Report) -> list[list[str]]:
    closed, opened = report.closed, report.open
    return [
        ["offline", "requests a second", f"{report.offline_per_s:.2f}", ""],
        [f"{plan.clients} clients", "requests a second", f"{closed.requests_per_s:.2f}", ""],
        ["", "of offline", f"{report.share:.0%}", ">= 80%"],
        ["", "to the first token, p50 / p95, s", f"{closed.first_p50_s:.2f} / {closed.first_p95_s:.2f}", ""],
        [
            f"arrivals, {report.open_per_s:.2f} a second",
            "to the first token, p50 / p95, s",
            f"{opened.first_p50_s:.2f} / {opened.first_p95_s:.2f}",
            "p95 <= 1.5",
        ],
        [
            "",
            "between tokens, p50 / p95 / max, ms",
            f"{1e3 * opened.between_p50_s:.0f} / {1e3 * opened.between_p95_s:.0f} / {1e3 * opened.between_max_s:.0f}",
            "p95 <= 150",
        ],
        [
            f"a prompt of {report.long_prompt:,}",
            f"between tokens of {plan.others} others: p50 before / p99 / max, ms",
            f"{1e3 * report.others_p50_s:.0f} / {1e3 * report.others_p99_s:.0f} / {1e3 * report.others_max_s:.0f}",
            "max <= 200",
        ],
        ["", "to its own first token, s", f"{report.long_first_s:.2f}", ""],
        [
            "processors busy",
            "server / load generator, closed",
            f"{closed.server_cpus:.2f} / {closed.client_cpus:.2f}",
            "",
        ],
        ["", "server / load generator, arrivals", f"{opened.server_cpus:.2f} / {opened.client_cpus:.2f}", ""],
    ]
