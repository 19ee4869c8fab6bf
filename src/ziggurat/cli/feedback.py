"""The stages that learn from feedback, as commands: `reward`, `ppo` and `align` (rounds of both)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ziggurat.cli import inputs, options
from ziggurat.cli.inputs import print_done, print_plan
from ziggurat.console import out
from ziggurat.places import model_folder

GOLD_PROMPTS = 64
"""So many of the prompts are used for the gold check where it has none of its own."""


def reward(
    sft: Annotated[str, typer.Option("--sft", "--base", help="The stage-2 model to start from.")],
    data: options.Data = None,
    held_out: options.HeldOut = None,
    demonstrations: options.ZeroReward = None,
    recipe: options.Recipe = None,
    sets: options.Sets = None,
    out_: options.Out = None,
    ladder: options.Ladder = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Stage 3: learn what people prefer, from comparisons (ours, TRL, HH-RLHF, Open-Assistant trees ...).

    \b
    ziggurat reward --sft town/sft --data comparisons.jsonl
    ziggurat reward --sft own/sft --data hh.jsonl.gz --demonstrations d.jsonl --dry-run
    ziggurat reward --sft own/sft --resume --out runs/own/reward-1
    """
    from ziggurat.corpus.load import load_comparisons, load_demonstrations
    from ziggurat.stages import reward as stage

    path = inputs.run_path(out_, "reward", ladder=ladder, base=sft, resume=resume)
    layers = inputs.layers("reward", recipe, sets, frozen=path if resume else None)
    resolved = stage.reward_config(sft, *layers)

    sources = inputs.Sources(path, "reward", skip_bad_rows)
    learn = sources.records(data, load_comparisons)
    held = sources.records(held_out, load_comparisons, "held_out")
    shown = sources.records(demonstrations, load_demonstrations, "demonstrations")
    entries = learn.entries + held.entries + shown.entries
    given = held.records if held else None
    if dry_run:
        print_plan("reward", path, stage.prepare(resolved, sft, learn.records, held_out=given, data=entries))
        return
    stage.reward(
        resolved,
        sft,
        learn.records,
        path,
        held_out=given,
        demonstrations=shown.records,
        data=entries,
        resume=resume,
        overwrite=overwrite,
    )
    print_done(path)


def ppo(
    policy: Annotated[
        str, typer.Option("--policy", "--base", help="The model to improve: a stage-2 or stage-4 run.")
    ],
    reward_model: Annotated[str, typer.Option("--reward", help="The stage-3 run that scores it.")],
    data: options.Data = None,
    text: options.Text = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Where KL is measured to; default: the policy's start.")
    ] = None,
    gold: options.Gold = None,
    gold_prompts: Annotated[
        list[Path] | None, typer.Option("--gold-prompts", help="Prompts of the gold check.")
    ] = None,
    recipe: options.Recipe = None,
    sets: options.Sets = None,
    out_: options.Out = None,
    ladder: options.Ladder = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Stage 4: improve the policy against the reward model, kept near its start and watched by the doctor.

    \b
    ziggurat ppo --policy town/sft --reward town/reward --data prompts.jsonl
    ziggurat ppo --policy own/sft --reward own/reward --data p.jsonl --text notes.txt --set steps=40
    ziggurat ppo --policy own/sft --reward own/reward --resume --out runs/own/ppo-1
    """
    from ziggurat.corpus.load import load_prompts
    from ziggurat.stages import ppo as stage
    from ziggurat.stages import ppo_config as settings

    path = inputs.run_path(out_, "ppo", ladder=ladder, base=policy, resume=resume)
    layers = inputs.layers("ppo", recipe, sets, frozen=path if resume else None)
    resolved = settings.ppo_config(policy, *layers)
    sources = inputs.Sources(path, "ppo", skip_bad_rows)
    learn = sources.records(data, load_prompts)
    wanted = resolved.config.ptx_weight > 0
    mixed = sources.mixed_text(text, policy, wanted=wanted, otherwise="an alignment tax")
    more: dict[str, Any] = {
        "reference": reference,
        "ptx_documents": mixed.records,
        "data": learn.entries + mixed.entries,
    }
    if gold is not None:
        model_folder(gold)
    if dry_run:
        print_plan("ppo", path, settings.prepare(resolved, policy, reward_model, learn.records, **more))
        return
    check = _gold_check(gold, gold_prompts, learn.records, skip_bad_rows)
    stage.ppo(
        resolved,
        policy,
        reward_model,
        learn.records,
        path,
        **more,
        gold=check,
        resume=resume,
        overwrite=overwrite,
    )
    print_done(path)


def align(
    sft: Annotated[
        str, typer.Option("--sft", "--base", help="The stage-2 model that the rounds start from.")
    ],
    data: options.Data = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", help="How often stages 3 and 4 are repeated.")
    ] = None,
    comparisons: Annotated[
        list[Path] | None, typer.Option("--comparisons", help="Rankings that are there already.")
    ] = None,
    demonstrations: options.ZeroReward = None,
    held_out: options.HeldOut = None,
    text: options.Text = None,
    gold: options.Gold = None,
    recipe: options.Recipe = None,
    sets: options.Sets = None,
    out_: options.Out = None,
    ladder: options.Ladder = None,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    skip_bad_rows: options.SkipBadRows = False,
) -> None:
    """Repeat stages 3 and 4: sample, have people rank, train the reward model, run PPO; and again.

    Each round writes round-<n>/to_rank.jsonl and stops; rank it, put the result beside it as ranked.jsonl, resume.

    \b
    ziggurat align --sft own/sft --data prompts.jsonl --rounds 2 --out runs/own/align-1
    ziggurat align --sft own/sft --resume --out runs/own/align-1
    ziggurat align --sft own/sft --data p.jsonl --comparisons hh.jsonl.gz --set ppo.steps=40 --dry-run
    """
    from ziggurat.corpus.load import load_comparisons, load_demonstrations, load_prompts
    from ziggurat.stages import align as stage
    from ziggurat.stages import setup

    path = inputs.run_path(out_, "align", ladder=ladder, base=sft, resume=resume)
    layers = inputs.layers("align", recipe, sets, frozen=path if resume else None)
    if rounds is not None:
        layers.append(("--rounds", {"rounds": rounds}))
    resolved = stage.align_config(sft, *layers)

    sources = inputs.Sources(path, "align", skip_bad_rows)
    learn = sources.records(data, load_prompts)
    ranked = sources.records(comparisons, load_comparisons, "comparisons")
    held = sources.records(held_out, load_comparisons, "held_out")
    shown = sources.records(demonstrations, load_demonstrations, "demonstrations")
    wanted = resolved.config.ppo.ptx_weight > 0
    mixed = sources.mixed_text(text, sft, wanted=wanted, otherwise="an alignment tax")
    if gold is not None:
        model_folder(gold)
    if dry_run:
        setup.print_sources(resolved, to=out)
        out.print(
            f"Dry run: nothing was written; {len(learn.records):,} prompts, {len(ranked.records):,} comparisons."
        )
        return
    last = stage.align(
        resolved,
        sft,
        learn.records,
        path,
        comparisons=ranked.records,
        held_out=held.records if held else None,
        demonstrations=shown.records,
        ptx_documents=mixed.records,
        gold=_gold_check(gold, None, learn.records, skip_bad_rows),
        data=learn.entries + ranked.entries + held.entries + shown.entries + mixed.entries,
        resume=resume,
        overwrite=overwrite,
    )
    print_done(last)


def _gold_check(gold: str | None, files: list[Path] | None, prompts: list[Any], skip: bool) -> Any:
    """A second reward model as the gold check, on its own prompts or on some of those that are learned from."""
    if gold is None:
        return None
    from ziggurat.corpus.load import load_prompts
    from ziggurat.stages.reward import gold_from_reward_model

    own = inputs.records(files, load_prompts, role="gold_prompts", skip=skip).records
    return gold_from_reward_model(gold, [p.prompt for p in own or prompts[:GOLD_PROMPTS]])
