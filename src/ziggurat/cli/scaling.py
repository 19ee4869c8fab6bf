"""`ziggurat scaling`: a series of models of growing size, what it predicts, and what only large ones can."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import err, out, table
from ziggurat.errors import UsageError

if TYPE_CHECKING:
    from ziggurat.exam.scaling.corpus import Text
    from ziggurat.exam.scaling.plan import Series

SETTLED = ("train.steps", "train.seed", "train.warmup_steps", "shape", "model", "tokenizer", "context", "batch_tokens",
           "base", "epochs")  # fmt: skip
"""Settings that the series decides itself, or that have an option."""


def scaling(
    text: Annotated[
        list[Path] | None,
        typer.Option("--text", help="Raw text; may be given several times. Default: the town's."),
    ] = None,
    budget: Annotated[str, typer.Option(help="Time for all runs together, such as 5m, 20m or 2h.")] = "20m",
    sizes: Annotated[int, typer.Option(help="How many sizes.")] = 5,
    tokens_per_parameter: Annotated[
        str, typer.Option(help="Tokens of a run, as multiples of its parameters.")
    ] = "5,10,20",
    hold_out_largest: Annotated[
        bool, typer.Option(help="Predict the largest size from the others before it is trained.")
    ] = True,
    skill: Annotated[
        str, typer.Option(help="sums, copies or translations: mixed into the text, asked after each run.")
    ] = "",
    shares: Annotated[
        str,
        typer.Option(
            help="Percent of the text that shows the skill; several compare shares instead of fitting laws."
        ),
    ] = "5",
    name: Annotated[
        str, typer.Option(help="The series is kept in $ZIGGURAT_HOME/runs/scaling-NAME.")
    ] = "own",
    vocabulary: Annotated[int, typer.Option(help="Tokens of the vocabulary that all sizes have.")] = 1024,
    context: Annotated[int, typer.Option(help="Tokens of a row.", min=16)] = 128,
    batch_tokens: Annotated[int, typer.Option(help="Tokens of an optimizer step.", min=16)] = 1024,
    seeds: Annotated[int, typer.Option(help="Repeat every run that is fitted with so many seeds.")] = 1,
    seed: options.TrainingSeed = 0,
    town: options.Town = 1,
    sets: options.Sets = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a series; finished runs are kept.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a series of this name.")] = False,
    dry_run: options.PlanOnly = False,
) -> None:
    """Train a series of sizes within a budget, fit L(N, D) and L(C), predict a larger model, advise for a budget.

    \b
    ziggurat scaling --text wiki.txt --budget 20m --name wiki
    ziggurat scaling --text wiki.txt --skill copies --name copies        sharp and smooth measures by size
    ziggurat scaling --skill translations --shares 0,0.1,1,10 --budget 30m --name rare
    ziggurat scaling --name wiki --resume
    ziggurat plan size --budget 8h --scaling wiki
    """
    from ziggurat.exam.scaling.plan import Wanted, numbers
    from ziggurat.exam.scaling.series import prepare, reopen
    from ziggurat.ladder.plan import parse_budget
    from ziggurat.settings import parse_sets

    settings = parse_sets(sets or [])
    _refuse_settled(settings)
    percents = numbers(shares, "--shares") if skill else (0.0,)
    if resume:
        series, read = reopen(name)
    else:
        wanted = Wanted(
            parse_budget(budget),
            sizes,
            numbers(tokens_per_parameter, "--tokens-per-parameter"),
            hold_out_largest,
            percents,
            law=len(percents) == 1,
            seeds=seeds,
            seed=seed,
        )
        series, read = prepare(
            name, text or [], wanted, town=town, skill=skill, vocabulary=vocabulary, context=context,
            batch_tokens=batch_tokens, settings=settings, overwrite=overwrite, keep=not dry_run,
        )  # fmt: skip
    _show_plan(series)
    if not dry_run:
        _train(series, read)


def _refuse_settled(settings: dict[str, Any]) -> None:
    """Settings of --set that the series decides itself."""
    from ziggurat.settings import flatten

    for key in flatten(settings):
        if key in SETTLED or key.partition(".")[0] in SETTLED:
            raise UsageError(f"--set {key}: the series settles it; see `ziggurat scaling --help`.")


def _show_plan(series: Series) -> None:
    from ziggurat.console import human_time
    from ziggurat.exam.scaling.plan import describe

    columns = ["run", "shape", "parameters", "tokens", "a parameter", "share", "about"]
    err.print(table("The plan", columns, describe(series)))
    err.print(
        f"{len(series.cells)} runs, about {human_time(series.seconds)} of {human_time(series.budget_s)}; larger models "
        f"are kept out by {series.limit}."
    )


def _train(series: Series, text: Text) -> None:
    """Train what is not trained yet, fit, and report."""
    from ziggurat.exam.scaling.findings import laws_of
    from ziggurat.exam.scaling.report import terminal_tables, write_report
    from ziggurat.exam.scaling.series import train_series

    found = train_series(series, text)
    laws = laws_of(series, found) if series.law else None
    page = write_report(series, found, laws)
    for one in terminal_tables(series, found, laws):
        out.print(table(one.title, [*one.columns], one.rows))
        out.print("")
    out.print(f"The report: {page}")
