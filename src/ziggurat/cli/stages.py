"""The stages as commands: `pretrain`, `sft` and `sample` here, `reward`, `ppo` and `align` in feedback.py.

Each parses, calls one function, prints.

`--dry-run` stops after `prepare`: settings resolved, data loaded and checked, every derived number printed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ziggurat.cli import inputs, options
from ziggurat.cli.feedback import align, ppo, reward
from ziggurat.cli.inputs import parent_of, print_done, print_plan
from ziggurat.console import err, out
from ziggurat.errors import UsageError
from ziggurat.files import check_folder

__all__ = ["align", "ppo", "pretrain", "reward", "sample", "sft"]


def pretrain(
    data: options.Data = None,
    base: Annotated[
        str | None, typer.Option("--base", help="Continue from a run or a Hugging Face folder.")
    ] = None,
    held_out: options.HeldOut = None,
    recipe: options.Recipe = None,
    sets: options.Sets = None,
    out_: options.Out = None,
    ladder: options.Ladder = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Stage 1: learn to continue raw text: text, Markdown, HTML, code, CSV, JSON Lines, Parquet; files or folders.

    \b
    ziggurat pretrain --data book.txt --out runs/book --dry-run
    ziggurat pretrain --data annals.jsonl --set model=tiny --set train.steps=300
    ziggurat pretrain --data notes/ --base models/Qwen3-0.6B-Base --ladder house
    ziggurat pretrain --resume --out runs/book
    """
    from ziggurat.stages import pretrain as stage

    path = inputs.run_path(out_, "pretrain", ladder=ladder, base=base, resume=resume)
    layers = inputs.layers("pretrain", recipe, sets, frozen=path if resume else None)
    resolved = stage.pretrain_config(None if resume and not base else base, *layers)
    sources = inputs.Sources(path, "pretrain", skip_bad_rows)
    learn = sources.documents(data)
    held = sources.documents(held_out, "held_out")
    entries = learn.entries + held.entries
    given = held.records if held else None
    if dry_run:
        ready = stage.prepare(resolved, learn.records, held_out=given, data=entries)
        print_plan("pretrain", path, ready)
        return
    stage.pretrain(
        resolved, learn.records, path, held_out=given, data=entries, resume=resume, overwrite=overwrite
    )
    print_done(path)


def sft(
    base: Annotated[
        str | None, typer.Option("--base", help="The model to start from: a run or a folder.")
    ] = None,
    data: options.Data = None,
    text: options.Text = None,
    held_out: options.HeldOut = None,
    recipe: options.Recipe = None,
    sets: options.Sets = None,
    out_: options.Out = None,
    ladder: options.Ladder = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Stage 2: learn to answer, from demonstrations (OpenAI messages, Alpaca, ShareGPT, Open-Assistant, CSV ...).

    \b
    ziggurat sft --base town/pretrain --data demonstrations.jsonl
    ziggurat sft --base models/Qwen3-0.6B-Base --data alpaca.json --text notes.txt --set epochs=3
    ziggurat sft --base own/pretrain --data d.jsonl --set text_share=0.3 --dry-run
    ziggurat sft --resume --out runs/own/sft-1
    """
    from ziggurat.corpus.load import load_demonstrations
    from ziggurat.stages import sft as stage

    path = inputs.run_path(out_, "sft", ladder=ladder, base=base, resume=resume)
    base = base or parent_of(path, "sft")
    layers = inputs.layers("sft", recipe, sets, frozen=path if resume else None)
    resolved = stage.sft_config(base, *layers)
    sources = inputs.Sources(path, "sft", skip_bad_rows)
    learn = sources.records(data, load_demonstrations)
    held = sources.records(held_out, load_demonstrations, "held_out")
    wanted = resolved.config.text_share > 0
    mixed = sources.mixed_text(text, base, wanted=wanted, otherwise="some forgetting")
    more: dict[str, Any] = {
        "text": mixed.records,
        "held_out": held.records if held else None,
        "data": learn.entries + held.entries + mixed.entries,
    }
    if dry_run:
        print_plan("sft", path, stage.prepare(resolved, base, learn.records, **more))
        return
    stage.sft(resolved, base, learn.records, path, **more, resume=resume, overwrite=overwrite)
    print_done(path)


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
    sampled = stage.sample(policy, loaded.records, k, params, greedy=greedy)
    written = stage.write_to_rank(out_, sampled, policy=policy, params=params)
    cut = sum(finish == "length" for item in sampled for finish in item.finishes)
    out.print(
        f"{out_}: {written:,} prompts with {k} completions each; add to each row its ranks (1 is best)."
    )
    if cut:
        err.print(f"{cut:,} completions were cut off at {max_tokens} tokens; --max-tokens makes room.")
