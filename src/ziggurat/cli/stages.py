"""The stages as commands, built from their declarations (`ziggurat.stages.stage`), and `ziggurat sample`.

Every stage takes its models, its data, and the same settings, run and resume options. `--dry-run` stops after
`prepare`: settings resolved, data loaded and checked, every derived number printed.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ziggurat.cli import options
from ziggurat.console import err, out
from ziggurat.errors import UsageError
from ziggurat.files import check_folder
from ziggurat.stages.stage import Stage, declared

if TYPE_CHECKING:
    from ziggurat.stages.launch import Call, Order

COMMON: dict[str, tuple[Any, Any]] = {
    "recipe": (options.Recipe, None),
    "sets": (options.Sets, None),
    "out_": (options.Out, None),
    "ladder": (options.Ladder, None),
    "resume": (options.Resume, False),
    "overwrite": (options.Overwrite, False),
    "seeds": (options.Seeds, None),
    "dry_run": (options.DryRun, False),
    "skip_bad_rows": (options.SkipBadRows, False),
}


def __getattr__(name: str) -> Callable[..., None]:
    """The command of each declared stage, under the stage's name."""
    if name not in declared():
        raise AttributeError(f"{__name__} has no {name}")
    return command(declared()[name])


def command(stage: Stage, *, plan: bool = False) -> Callable[..., None]:
    """A function with the stage's options, for typer. `plan`: it only says what the run takes."""
    taken: dict[str, tuple[Any, Any]] = {}
    for model in stage.models:
        taken[model.argument] = (Annotated[str | None, typer.Option(*model.options, help=model.help)], None)
    for item in stage.inputs:
        taken[item.argument] = (Annotated[list[Path] | None, typer.Option(item.option, help=item.help)], None)
    for short in stage.shortcuts:
        option = typer.Option(f"--{short.setting}", help=short.help)
        taken[short.setting] = (Annotated[short.type | None, option], None)
    if stage.gold:
        taken |= {"gold": (options.Gold, None), "gold_prompts": (options.GoldPrompts, None)}
    taken |= COMMON

    def run(**given: Any) -> None:
        _run(stage, given, plan=plan)

    run.__name__ = stage.name
    run.__doc__ = (
        stage.help.replace(f"ziggurat {stage.name} ", f"ziggurat plan {stage.name} ") if plan else stage.help
    )
    run.__annotations__ = {name: annotation for name, (annotation, _) in taken.items()}
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in taken.items()
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run


def _run(stage: Stage, given: dict[str, Any], *, plan: bool = False) -> None:
    """Parse, then prepare or run the stage once or, with --seeds, several times, and print."""
    from ziggurat.stages.launch import Order, assemble, layers, run_path

    settings = layers(stage.name, given["recipe"], given["sets"])
    for short in stage.shortcuts:
        if given[short.setting] is not None:
            settings.append((f"--{short.setting}", {short.setting: given[short.setting]}))
    order = Order(
        stage,
        models={model.argument: given[model.argument] for model in stage.models},
        data={item.argument: given[item.argument] for item in stage.inputs},
        settings=settings,
        gold=given.get("gold"),
        gold_prompts=given.get("gold_prompts"),
        resume=given["resume"],
        overwrite=given["overwrite"],
        skip_bad_rows=given["skip_bad_rows"],
    )
    if given["seeds"] is not None and not plan:
        _repeat(order, given)
        return
    path = run_path(given["out_"], stage.name, ladder=given["ladder"], base=order.base, resume=order.resume)
    call = assemble(order, path)
    if plan:
        _print_cost(call)
        return
    if given["dry_run"]:
        _print_plan(call)
        return
    _print_done(call.run())


def _repeat(order: Order, given: dict[str, Any]) -> None:
    """Run the stage once for each seed, then compare the runs."""
    from ziggurat.cli.runs import print_comparison
    from ziggurat.evaluation.compare import compare_runs
    from ziggurat.runs import Run
    from ziggurat.stages.seeds import calls, repetitions

    runs = repetitions(order, given["seeds"], out=given["out_"], ladder=given["ladder"])
    for one, call in calls(order, runs):
        if given["dry_run"]:
            _print_plan(call)
            out.print(f"The runs would be {', '.join(str(each.path) for each in runs)}.", soft_wrap=True)
            return
        err.print(f"Seed {one.seed}, {runs.index(one) + 1} of {len(runs)}: {one.path}", soft_wrap=True)
        _print_done(call.run())
    print_comparison(compare_runs([Run.open(one.path) for one in runs]))


def _print_plan(call: Call) -> None:
    """What --dry-run prints, on stdout: every setting with its source, every derived number with its formula, and the
    memory and time that the run needs. ConfigError if it needs more memory than is available."""
    from ziggurat.stages import setup

    ready, name = call.prepare(), call.order.stage.name
    setup.print_sources(ready.resolved, to=out)
    setup.print_derived(name, ready.derived, to=out)
    cost = getattr(ready, "cost", None)  # a stage of another package need not estimate it
    if cost is not None:
        setup.print_derived("cost", setup.describe_cost(cost, setup.loop_of(ready.config).device), to=out)
        setup.check_cost(name, ready)
    out.print(f"Dry run: nothing was written; the run would be {call.path}.")


def _print_cost(call: Call) -> None:
    """What `ziggurat plan` prints: one sentence, and memory and time by part. ConfigError if it does not fit."""
    from ziggurat.stages import setup

    ready, name = call.prepare(), call.order.stage.name
    if ready.cost is None:
        raise UsageError(f"The stage {name} does not estimate what it takes.")
    device = setup.loop_of(ready.config).device
    out.print(f"{name}: {setup.plan_sentence(ready.cost, device)}.")
    setup.print_derived("cost", setup.describe_cost(ready.cost, device), to=out)
    setup.check_cost(name, ready)


def _print_done(path: Path) -> None:
    out.print(f"{path}")
    err.print(f"report: {path / 'report.html'}")


def sample(
    policy: Annotated[str, typer.Argument(help="The run or model folder that writes the completions.")],
    data: options.Data = None,
    k: Annotated[int, typer.Option("--k", help="Completions for each prompt, 2 to 9.")] = 4,
    out_: Annotated[Path, typer.Option("--out", help="Where the completions go.")] = Path("to_rank.jsonl"),
    temperature: Annotated[float, typer.Option(help="Of the sampled ones.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus of the sampled ones; 1 is everything.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Longest completion.")] = 128,
    seed: Annotated[int, typer.Option(help="The same seed gives the same completions.")] = 0,
    greedy: Annotated[
        bool, typer.Option("--greedy/--no-greedy", help="Put the greedy completion first.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Let a model write completions that people can rank: a comparison file that only lacks its ranks.

    \b
    ziggurat sample town/sft --data prompts.jsonl --k 4 --out to_rank.jsonl
    ziggurat sample town/ppo --data questions.csv --temperature 0.8 --seed 7
    ziggurat sample models/Qwen3-0.6B --data hh.jsonl.gz --k 2 --no-greedy
    """
    from ziggurat.corpus.files import load_kind
    from ziggurat.engine.params import SamplingParams
    from ziggurat.stages import sample as stage
    from ziggurat.stages.launch import need_data

    loaded = load_kind("prompts", need_data(data, "sample"), skip=skip_bad_rows)
    if out_.is_dir():
        raise UsageError(f"{out_} is a folder; name a file with --out.")
    if out_.exists() and not overwrite:
        raise UsageError(f"{out_} is there already; name another file with --out, or add --overwrite.")
    check_folder(out_.parent)
    params = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
    sampled = stage.sample(policy, loaded.records, k, params, greedy=greedy, skip=skip_bad_rows)
    written = stage.write_to_rank(out_, sampled, policy=policy, params=params)
    cut = sum(finish == "length" for item in sampled for finish in item.finishes)
    out.print(
        f"{out_}: {written:,} prompts with {k} completions each; add to each row its ranks (1 is best)."
    )
    if cut:
        err.print(f"{cut:,} completions were cut off at {max_tokens} tokens; --max-tokens makes room.")
