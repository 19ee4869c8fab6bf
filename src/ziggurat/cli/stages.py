"""The stages as commands, built from their declarations (`ziggurat.stages.stage`), and `ziggurat sample`.

Every stage takes its models, its data, and the same settings, run and resume options. `--dry-run` stops after
`prepare`: settings resolved, data loaded and checked, every derived number printed.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ziggurat.cli import inputs, options
from ziggurat.console import err, out
from ziggurat.errors import UsageError
from ziggurat.files import check_folder
from ziggurat.places import model_folder
from ziggurat.stages import setup
from ziggurat.stages.stage import Stage, declared

GOLD_PROMPTS = 64
"""So many of the prompts are used for the gold check where it has none of its own."""

COMMON: dict[str, tuple[Any, Any]] = {
    "recipe": (options.Recipe, None),
    "sets": (options.Sets, None),
    "out_": (options.Out, None),
    "ladder": (options.Ladder, None),
    "resume": (options.Resume, False),
    "overwrite": (options.Overwrite, False),
    "dry_run": (options.DryRun, False),
    "skip_bad_rows": (options.SkipBadRows, False),
}


def __getattr__(name: str) -> Callable[..., None]:
    """The command of each declared stage, under the stage's name."""
    if name not in declared():
        raise AttributeError(f"{__name__} has no {name}")
    return command(declared()[name])


def command(stage: Stage) -> Callable[..., None]:
    """A function with the stage's options, for typer."""
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
        _run(stage, given)

    run.__name__, run.__doc__ = stage.name, stage.help
    run.__annotations__ = {name: annotation for name, (annotation, _) in taken.items()}
    parameters = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in taken.items()
    ]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    return run


def _run(stage: Stage, given: dict[str, Any]) -> None:
    """Parse, load the data, call the stage's `prepare` or `run`, print."""
    resume, skip = given["resume"], given["skip_bad_rows"]
    base = given[stage.models[0].argument]
    path = inputs.run_path(given["out_"], stage.name, ladder=given["ladder"], base=base, resume=resume)
    models = inputs.models_of(stage, given, path)
    parent = models[stage.models[0].argument]
    layers = inputs.layers(stage.name, given["recipe"], given["sets"], frozen=path if resume else None)
    for short in stage.shortcuts:
        if given[short.setting] is not None:
            layers.append((f"--{short.setting}", {short.setting: given[short.setting]}))
    resolved = stage.function("configure")(parent, *layers)
    if skip and hasattr(resolved.config, "skip_bad_rows"):
        resolved = setup.freeze(resolved, {"skip_bad_rows": True}, "--skip-bad-rows")

    sources = inputs.Sources(path, stage.name, skip)
    loaded = {
        item.argument: sources.load(item, given[item.argument], parent, resolved) for item in stage.inputs
    }
    first, *further = stage.inputs
    positional: list[Any] = [models[m.argument] for m in stage.models if m.required and not m.in_config]
    positional.append(loaded[first.argument].records)
    named: dict[str, Any] = {
        m.argument: models[m.argument] for m in stage.models if not m.required and not m.in_config
    }
    for item in further:
        found = loaded[item.argument]
        named[item.argument] = None if item.none_if_missing and not found else found.records
    named["data"] = [entry for one in loaded.values() for entry in one.entries]
    if stage.gold and given["gold"] is not None:
        model_folder(given["gold"])  # a misspelt name is an error before anything runs
    if given["dry_run"]:
        inputs.print_plan(stage.name, path, stage.function("prepare")(resolved, *positional, **named))
        return
    if stage.gold:
        prompts = loaded[first.argument].records
        named["gold"] = _gold_check(given["gold"], given["gold_prompts"], prompts, skip)
    overwrite = given["overwrite"]
    done = stage.function("run")(resolved, *positional, path, **named, resume=resume, overwrite=overwrite)
    inputs.print_done(done)


def _gold_check(gold: str | None, files: list[Path] | None, prompts: list[Any], skip: bool) -> Any:
    """A second reward model as the gold check, on its own prompts or on some of those that are learned from."""
    if gold is None:
        return None
    from ziggurat.corpus.load import load_prompts
    from ziggurat.stages.reward import gold_from_reward_model

    own = inputs.records(files, load_prompts, role="gold_prompts", skip=skip).records
    return gold_from_reward_model(gold, [p.prompt for p in own or prompts[:GOLD_PROMPTS]])


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
    from ziggurat.corpus.load import load_prompts
    from ziggurat.engine.params import SamplingParams
    from ziggurat.stages import sample as stage

    loaded = inputs.records(inputs.need_data(data, "sample"), load_prompts, skip=skip_bad_rows)
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
