"""Stage 3: a model of what people prefer, from their rankings.

    comparisons (K ranked completions of one prompt) -> K scores at the end-of-turn tokens -> pairwise loss,
    one element a comparison -> shift and scale -> report card on held-out comparisons -> model/

Starts from the stage-2 model, whose last layer it replaces by one number. One epoch, as in the paper: rankings are
memorised fast. Afterwards rewards are given a zero and a unit: demonstrations score 0 on average, and what the
stage-2 model samples has standard deviation 1, so that PPO's beta means the same thing for every reward model.
With `train.trainable=head` the body computes every completion once, and the heads learn from its states.
The report card (`report_card.py`) is written into report.json; `ppo` reads it and refuses a model that failed.

Left out: several labellers' models averaged, and a loss on tokens beside the ranking.
Source: InstructGPT, arXiv:2203.02155, 3.5; "Learning to summarize", arXiv:2009.01325, 3.4.

    ziggurat reward --sft town/sft --data ranked.jsonl --demonstrations demonstrations.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.model.heads import Reading, RewardModel
from ziggurat.model.hub import save_scalar
from ziggurat.model.padding import hidden_without_padding
from ziggurat.model.transformer import set_compute_dtype
from ziggurat.records import Comparison, Demonstration
from ziggurat.settings import Resolved
from ziggurat.stages.comparison_batches import (
    ComparisonBatches,
    RankedBatch,
    ReadBatch,
    read_once,
    split_batch,
)
from ziggurat.stages.ppo_losses import pairwise_loss
from ziggurat.stages.report_card import (
    CardLimits,
    KindOfPair,
    completion_lengths,
    pair_accuracy,
    report_card,
    score_comparisons,
)
from ziggurat.stages.reward_config import Prepared, RewardConfig, prepare, reward_config
from ziggurat.stages.reward_scale import ScaleSettings, calibrate, gold_from_reward_model
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train
from ziggurat.training.trainable import compute_dtype

READINGS_BYTES = 1 << 30
"""The largest size of a frozen body's states that is kept; above it each batch is computed anew."""

__all__ = ["RewardConfig", "gold_from_reward_model", "prepare", "reward", "reward_config"]


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
    ready = prepare(resolved, sft, comparisons, held_out=held_out, demonstrations=demonstrations, data=data)
    config = ready.config
    with begin("reward", ready, run_path, resume=resume, overwrite=overwrite) as run:
        model = ready.load()
        result = train(
            run,
            model,
            ComparisonBatches(
                ready.ranked,
                config.batch_comparisons,
                ready.tokenizer.pad_id,
                ready.seed,
                model.head.weight.device,
                _read_by_a_frozen_body(ready, model) if config.train.trainable == "head" else None,
            ),
            ranking_loss,
            config.train,
            split=split_batch,
            evaluate=_evaluator(ready) if ready.held_out else None,
            resume=resume,
            unit="comparisons",
            tokenizer=ready.tokenizer,
        )
        shift, scale = calibrate(
            model,
            ready.template,
            ready.base,
            ready.prompts,
            ready.demonstrations,
            ScaleSettings(config.scale_samples, config.sample_tokens, config.train.dtype, ready.seed),
            policy=model.body.adapter.base if model.body.adapter else None,
        )
        run.save_model(lambda folder: save_scalar(model, folder, ready.tokenizer))
        card = make_card(ready, model, kind_of_pair, labelling_ceiling)
        err.print(verdict(card))
        finish(
            run,
            ready,
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
            more={"card": card},
        )
    return run_path


def ranking_loss(model: nn.Module, batch: RankedBatch | ReadBatch) -> tuple[Tensor, float]:
    """(sum over comparisons, comparisons with an untied pair) of unshifted, unscaled scores."""
    assert isinstance(model, RewardModel)
    if isinstance(batch, ReadBatch):
        raw = model.judge(batch.reading)
    else:
        raw = model.raw(batch.ids, batch.ends, hidden_without_padding(model.body, batch.ids, batch.ends + 1))
    loss, count = pairwise_loss(raw, batch.ranks, batch.weights)
    return loss, float(count)


def _read_by_a_frozen_body(ready: Prepared, model: RewardModel) -> list[Reading] | None:
    """The frozen body's states of every comparison; None where they would take more than READINGS_BYTES."""
    words = sum(len(row) for one in ready.ranked for row in one.rows)
    dtype = compute_dtype(ready.config.train)
    if words * model.body.config.d_model * dtype.itemsize > READINGS_BYTES:
        return None
    set_compute_dtype(model, dtype)
    return read_once(model, ready.ranked, ready.tokenizer.pad_id)


def make_card(
    ready: Prepared, model: RewardModel, kind_of_pair: KindOfPair | None, labelling_ceiling: float | None
) -> dict[str, Any]:
    """The report card of the trained model on the held-out comparisons."""
    config = ready.config
    return report_card(
        ready.held_out,
        score_comparisons(model, ready.held_out_ranked, ready.tokenizer.pad_id),
        completion_lengths(ready.held_out, ready.template),
        reward_scale=float(model.reward_scale),
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
    some = ready.held_out_ranked[: ready.config.eval_comparisons]

    def evaluate(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, RewardModel)
        scores = score_comparisons(model, some, ready.tokenizer.pad_id)
        loss, count = pairwise_loss(
            torch.tensor([s for one in scores for s in one]), [one.ranks for one in some]
        )
        accuracy = pair_accuracy(scores, [one.ranks for one in some])
        return {"val_loss": float(loss) / max(1.0, count), "val_accuracy": accuracy}

    return evaluate
