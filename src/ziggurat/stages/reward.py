"""Stage 3: a model of what people prefer, from their rankings.

    comparisons (K ranked completions of one prompt) -> K scores at the end-of-turn tokens -> pairwise loss,
    one element a comparison -> shift and scale -> report card on held-out comparisons -> model/

Starts from the stage-2 model, whose last layer it replaces by one number. One epoch, as in the paper: rankings are
memorised fast. Afterwards rewards are given a zero and a unit: demonstrations score 0 on average, and what the
stage-2 model samples has standard deviation 1, so that PPO's beta means the same thing for every reward model.
The report card (`report_card.py`) is written into report.json; `ppo` reads it and refuses a model that failed.

Left out: several labellers' models averaged, and a loss on tokens beside the ranking.
Source: InstructGPT, arXiv:2203.02155, 3.5; "Learning to summarize", arXiv:2009.01325, 3.4.

    ziggurat reward --sft town/sft --data ranked.jsonl --demonstrations demonstrations.jsonl
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.errors import DataError
from ziggurat.lineage import base_manifest
from ziggurat.model.heads import RewardModel
from ziggurat.model.hub import load_model, save_scalar
from ziggurat.places import find_run, model_folder
from ziggurat.records import Comparison, Demonstration
from ziggurat.runs import Run
from ziggurat.settings import Config, Resolved, resolve
from ziggurat.stages import setup
from ziggurat.stages.comparison_batches import (
    ComparisonBatches,
    Ranked,
    RankedBatch,
    render_comparisons,
    split_batch,
)
from ziggurat.stages.ppo_losses import pairwise_loss, untied_pairs
from ziggurat.stages.report_card import (
    CardLimits,
    KindOfPair,
    completion_lengths,
    pair_accuracy,
    report_card,
    score_comparisons,
)
from ziggurat.stages.reward_scale import ScaleSettings, calibrate, gold_from_reward_model
from ziggurat.stages.setup import Derived
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.template import ChatTemplate
from ziggurat.training.config import TrainConfig
from ziggurat.training.loop import train

__all__ = ["RewardConfig", "gold_from_reward_model", "prepare", "reward", "reward_config"]

LR_SHARE = 1.0
"""Peak learning rates as a share of the stage-2 run's, which are gentle already."""


class RewardConfig(Config):
    """Settings of stage 3. 0 means "computed" where a field says so; what came out is in config.yaml."""

    batch_comparisons: int = Field(default=16, ge=1)
    """Comparisons (of K completions each) in one optimizer step."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the comparisons; only read to compute train.steps where that is 0."""

    held_out_share: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept for the report card, unless held-out comparisons are given."""

    eval_comparisons: int = Field(default=200, ge=1)
    """Held-out comparisons scored at each evaluation during training; the report card takes all."""

    shift_demonstrations: int = Field(default=512, ge=1)
    """Demonstrations whose mean reward becomes 0."""

    scale_samples: int = Field(default=256, ge=2)
    """Completions sampled from the stage-2 model, whose rewards get standard deviation 1."""

    sample_tokens: int = Field(default=96, ge=1)
    """Longest sampled completion, in tokens."""

    min_accuracy: float = Field(default=0.6, ge=0, le=1)
    """The report card passes if the lower bound of the pair accuracy is at least this,"""

    min_share_of_ceiling: float = Field(default=0.85, ge=0, le=1)
    """...the accuracy at least this share of the labelling ceiling, where that is known,"""

    min_kind_accuracy: float = Field(default=0.6, ge=0, le=1)
    """...and the accuracy on each kind of pair (with enough of them) at least this."""

    hears_doubt: bool = False
    """The score also hears how sure the model is of the words of an answer (`model.doubt`)."""

    body_learns: bool = True
    """False: only what is read off the stage-2 model learns, so what it is sure of stays what it was."""

    train: TrainConfig = TrainConfig(steps=0, lr_matrix=0.002, lr_adam=0.0003)
    """steps 0: computed from `epochs`."""


@dataclass(frozen=True)
class Prepared:
    """All that is settled before the first step; `--dry-run` ends here."""

    resolved: Resolved[RewardConfig]
    sft_folder: Path
    tokenizer: Tokenizer
    template: ChatTemplate
    model: RewardModel
    learn: list[Comparison]
    held_out: list[Comparison]
    ranked: list[Ranked]
    held_out_ranked: list[Ranked]
    derived: list[Derived]
    data: list[dict[str, Any]]


def reward_config(sft: str | Path, *layers: tuple[str, Any]) -> Resolved[RewardConfig]:
    """The configuration from its layers, with the training settings of the stage-2 run inherited."""
    return resolve(
        RewardConfig, ("inherited", setup.inherited(find_run(str(sft)), lr_share=LR_SHARE)), *layers
    )


def prepare(
    resolved: Resolved[RewardConfig],
    sft: str | Path,
    comparisons: Sequence[Comparison],
    *,
    held_out: Sequence[Comparison] | None = None,
    data: list[dict[str, Any]] | None = None,
) -> Prepared:
    """Load, render, split and derive everything; nothing is written."""
    config = resolved.config
    setup.need(comparisons, "comparisons")
    folder = model_folder(sft)
    tokenizer = Tokenizer.load(folder)
    template = ChatTemplate(tokenizer)
    model = RewardModel(
        load_model(folder), doubt_after=_opening_id(tokenizer) if config.hears_doubt else None
    )
    model.body.requires_grad_(config.body_learns)
    learn, held = (
        split_comparisons(comparisons, config.held_out_share) if held_out is None else (comparisons, held_out)
    )
    context = model.body.config.context
    ranked = render_comparisons(learn, template, context)
    useful = [one for one in ranked if untied_pairs(one.ranks)]
    if not useful:
        raise DataError(
            f"all {len(ranked):,} comparisons are tied throughout, so they teach nothing; rank some apart."
        )
    one_epoch = math.ceil(len(useful) / config.batch_comparisons)
    steps = config.train.steps or max(1, round(one_epoch * config.epochs))
    pairs = sum(len(untied_pairs(one.ranks)) for one in useful)
    completions = sum(len(one.rows) for one in useful)
    derived = [
        Derived("comparisons", len(useful), f"{len(ranked) - len(useful):,} more are tied throughout"),
        Derived("completions", completions, f"K = {completions / len(useful):.1f} on average"),
        Derived("untied pairs", pairs, "all of a comparison are one element of the loss"),
        Derived(
            "held-out comparisons",
            len(held),
            "given" if held_out is not None else "held_out_share of the prompts",
        ),
        Derived(
            "steps",
            steps,
            "train.steps" if config.train.steps else f"{config.epochs:g} epochs × {one_epoch:,}",
        ),
    ]
    return Prepared(
        resolved=setup.freeze(resolved, {} if config.train.steps else {"train.steps": steps}),
        sft_folder=folder,
        tokenizer=tokenizer,
        template=template,
        model=model,
        learn=list(learn),
        held_out=list(held),
        ranked=useful,
        held_out_ranked=render_comparisons(held, template, context),
        derived=derived,
        data=data or [setup.memory_entry("comparisons", list(comparisons))],
    )


def reward(
    resolved: Resolved[RewardConfig],
    sft: str | Path,
    comparisons: Sequence[Comparison],
    run_path: Path,
    *,
    held_out: Sequence[Comparison] | None = None,
    demonstrations: Sequence[Demonstration] = (),
    kind_of_pair: KindOfPair | None = None,
    labelling_ceiling: float | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Run stage 3 and return the run's folder. `data`: the files' manifest entries, where there are files."""
    from ziggurat.evaluation.report import write_run_report

    ready = prepare(resolved, sft, comparisons, held_out=held_out, data=data)
    config, model = ready.resolved.config, ready.model
    if resume:
        setup.check_same_data(run_path, ready.data)
    manifest = base_manifest("reward", parent=ready.sft_folder, data=ready.data, seed=config.train.seed)
    with Run.create(
        run_path,
        stage="reward",
        config_yaml=ready.resolved.to_yaml(),
        manifest=manifest | {"tokenizer": ready.tokenizer.fingerprint},
        resume=resume,
        overwrite=overwrite,
    ) as run:
        setup.print_sources(ready.resolved)
        setup.print_derived("reward", ready.derived)
        device = model.head.weight.device
        result = train(
            run,
            model,
            ComparisonBatches(
                ready.ranked, config.batch_comparisons, ready.tokenizer.pad_id, config.train.seed, device
            ),
            ranking_loss,
            config.train,
            split=split_batch,
            evaluate=_evaluator(ready) if ready.held_out else None,
            resume=resume,
            stage_label="reward",
            unit="comparisons",
            tokenizer=ready.tokenizer,
        )
        shift, scale = calibrate(
            model,
            ready.template,
            ready.sft_folder,
            [one.prompt for one in ready.learn],
            demonstrations,
            ScaleSettings(
                config.scale_samples,
                config.sample_tokens,
                config.shift_demonstrations,
                config.train.dtype,
                config.train.seed,
            ),
        )
        card = make_card(ready, kind_of_pair, labelling_ceiling)
        run.save_model(lambda folder: save_scalar(model, folder, ready.tokenizer))
        report = write_run_report(
            run,
            summary="A model of what people prefer. " + verdict(card),
            numbers={
                "steps": result.steps,
                "loss": result.loss,
                "held_out_accuracy": card["pairs"]["value"],
                "held_out_accuracy_low": card["pairs"]["low"],
                "labelling_ceiling": labelling_ceiling,
                "calibration_error": card["calibration_error"],
                "reward_length_correlation": card["length"]["reward"],
                "reward_shift": shift,
                "reward_scale": scale,
                **{f"accuracy: {kind}": found["value"] for kind, found in card["kinds"].items()},
            },
            derived=[(d.name, d.value, d.why) for d in ready.derived],
        )
        err.print(verdict(card))
        run.finish({**report, "card": card})
    return run_path


def ranking_loss(model: nn.Module, batch: RankedBatch) -> tuple[Tensor, float]:
    """(sum over comparisons, comparisons with an untied pair) of unshifted, unscaled scores."""
    assert isinstance(model, RewardModel)
    loss, count = pairwise_loss(model.raw(batch.ids, batch.ends), batch.ranks)
    return loss, float(count)


def _opening_id(tokenizer: Tokenizer) -> int:
    """The id that opens an assistant's turn; -1 for foreign templates without one: the whole conversation is heard."""
    found = tokenizer.id_of("<|assistant|>")
    return -1 if found is None else found


def split_comparisons(
    comparisons: Sequence[Comparison], share: float
) -> tuple[list[Comparison], list[Comparison]]:
    """(to learn from, held out), by the hash of the prompt: one prompt never falls on both sides."""
    if share <= 0 or len(comparisons) < setup.FEW_DOCUMENTS:
        return list(comparisons), []
    sides: tuple[list[Comparison], list[Comparison]] = [], []
    for one in comparisons:
        text = "\n".join(f"{message.role}: {message.content}" for message in one.prompt)
        sides[setup.falls_below(text, share)].append(one)
    return sides if sides[0] else (list(comparisons), [])


def make_card(
    ready: Prepared, kind_of_pair: KindOfPair | None, labelling_ceiling: float | None
) -> dict[str, Any]:
    """The report card of the trained model on the held-out comparisons."""
    config = ready.resolved.config
    return report_card(
        ready.held_out,
        score_comparisons(ready.model, ready.held_out_ranked, ready.tokenizer.pad_id),
        completion_lengths(ready.held_out, ready.template),
        reward_scale=float(ready.model.reward_scale),
        limits=CardLimits(config.min_accuracy, config.min_share_of_ceiling, config.min_kind_accuracy),
        kind_of_pair=kind_of_pair,
        labelling_ceiling=labelling_ceiling,
    )


def verdict(card: dict[str, Any]) -> str:
    """The card in one sentence."""
    pairs = card["pairs"]
    if not pairs["n"]:
        return "Report card failed: there is no untied held-out pair to judge it by."
    interval = f"[{pairs['low']:.1%}, {pairs['high']:.1%}]"
    seen = f"{pairs['value']:.1%} of {pairs['n']:,} held-out pairs are ordered as people did {interval}"
    ceiling = card["labelling_ceiling"]
    seen += f", labelling ceiling {ceiling:.1%}" if ceiling else ""
    if card["passed"]:
        return f"Report card passed: {seen}."
    return f"Report card failed: {'; '.join(card['reasons'])}. {seen}."


def _evaluator(ready: Prepared) -> Callable[[nn.Module], dict[str, float]]:
    some = ready.held_out_ranked[: ready.resolved.config.eval_comparisons]

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, RewardModel)
        scores = score_comparisons(model, some, ready.tokenizer.pad_id)
        loss, count = pairwise_loss(
            torch.tensor([s for one in scores for s in one]), [one.ranks for one in some]
        )
        accuracy = pair_accuracy(scores, [one.ranks for one in some])
        return {"val_loss": float(loss) / max(1, count), "val_accuracy": accuracy}

    return evaluate
