"""Learn from comparisons directly, without a reward model: DPO, IPO, SLiC's hinge, SimPO, ORPO.

    comparisons (K ranked completions of one prompt) -> log p of each completion, by policy and reference
    -> a reward for each -> one element of the loss a comparison, from all its pairs -> model/

The reference is the policy's own start (or another model); its log-probabilities are computed once, before the first
step, and then it leaves memory. Formulas: `preference_losses.py`; what the figures mean: docs/alignment.md.

Left out: rollouts, so the policy never learns from what it says itself; `align` with method=dpo does rounds.
Source: arXiv:2305.18290.

    ziggurat dpo --base town/sft --data ranked.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.evaluation.statistics import Interval, cluster_bootstrap
from ziggurat.model.hub import save_model
from ziggurat.model.transformer import Transformer
from ziggurat.records import Comparison
from ziggurat.settings import Resolved
from ziggurat.stages.comparison_batches import ComparisonBatches, Ranked, RankedBatch, split_batch
from ziggurat.stages.dpo_config import DPOConfig, Prepared, dpo_config, prepare
from ziggurat.stages.likelihood import completion_logp, drift_of, load_policy, load_reference, rows_logp
from ziggurat.stages.method import answers_before_and_after, as_text
from ziggurat.stages.ppo_losses import untied_pairs
from ziggurat.stages.preference_losses import preference_loss
from ziggurat.stages.report_card import length_correlations
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train

__all__ = ["DPOConfig", "dpo", "dpo_config", "prepare"]


def dpo(
    resolved: Resolved[DPOConfig],
    base: str | Path,
    comparisons: Sequence[Comparison],
    run_path: Path,
    *,
    reference: str | Path | None = None,
    held_out: Sequence[Comparison] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train, save the model, write the report; returns the run's folder."""
    ready = prepare(resolved, base, comparisons, reference=reference, held_out=held_out, data=data)
    config = ready.config
    with begin("dpo", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest) as run:
        policy = load_policy(ready.base, config.train, ready.seed)
        ranked, held = with_reference(ready, policy)
        before = scores_of(policy, held, ready.tokenizer.pad_id)
        result = train(
            run,
            policy,
            ComparisonBatches(
                ranked,
                config.batch_comparisons,
                ready.tokenizer.pad_id,
                ready.seed,
                policy.embedding.weight.device,
            ),
            loss_of(config),
            config.train,
            split=split_batch,
            evaluate=_evaluator(ready, held[: config.eval_comparisons]) if held else None,
            resume=resume,
            unit="comparisons",
            tokenizer=ready.tokenizer,
        )
        run.save_model(lambda folder: save_model(policy, folder, ready.tokenizer))
        numbers = {**result.numbers(), **held_out_numbers(ready, held, before, policy)}
        numbers["drift_nats"] = drift_of(ready, policy)
        summary = verdict(numbers)
        err.print(summary)
        samples = answers_before_and_after(run, ready.base, ready.chat, ready.prompts)
        finish(run, ready, summary=summary, numbers=numbers, samples=samples)
    return run_path


def with_reference(ready: Prepared, policy: Transformer) -> tuple[list[Ranked], list[Ranked]]:
    """(to learn from, held out) with the reference's log-probabilities; `policy` is still at its start."""
    if ready.config.preference.reference_free:
        return ready.ranked, ready.held_out_ranked
    model = policy
    if ready.reference_folder != ready.base:
        model = load_reference(ready.reference_folder, ready.config.train)
    pad_id = ready.tokenizer.pad_id
    both = [*ready.ranked, *ready.held_out_ranked]
    known = scores_of(model, both, pad_id)
    filled = [replace(one, reference=logps) for one, logps in zip(both, known, strict=True)]
    return filled[: len(ready.ranked)], filled[len(ready.ranked) :]


def scores_of(model: Transformer, ranked: Sequence[Ranked], pad_id: int) -> list[list[float]]:
    """log p of every completion, by comparison."""
    rows, starts = [row for one in ranked for row in one.rows], [s for one in ranked for s in one.starts]
    flat = iter(rows_logp(model, rows, starts, pad_id) if rows else [])
    return [[next(flat) for _ in one.rows] for one in ranked]


def loss_of(config: DPOConfig) -> Callable[[nn.Module, RankedBatch], tuple[Tensor, float, dict[str, Any]]]:
    """The loss of a microbatch, for the loop."""
    kind = config.preference

    def loss(model: nn.Module, batch: RankedBatch) -> tuple[Tensor, float, dict[str, Any]]:
        logp = completion_logp(model, batch.ids, batch.starts, batch.ends)
        total, count, metrics = preference_loss(
            logp, batch.reference, batch.ends - batch.starts + 1, batch.ranks, kind, batch.weights
        )
        return total, float(count), metrics

    return loss


def _evaluator(ready: Prepared, held: Sequence[Ranked]) -> Callable[[nn.Module], dict[str, float]]:
    def evaluate(model: Any) -> dict[str, float]:
        logp = scores_of(model, held, ready.tokenizer.pad_id)
        loss, count, metrics = preference_loss(*_flat(held, logp), ready.config.preference)
        return {
            "val_loss": float(loss) / max(1, count),
            **{f"val_{name}": float(value) / max(1, count) for name, value in metrics.items()},
        }

    return evaluate


def _flat(ranked: Sequence[Ranked], logp: Sequence[Sequence[float]]) -> tuple[Any, Any, Any, list[list[int]]]:
    """log p, the reference's and the lengths (B,) of all completions, and the ranks."""
    known = [x for one in ranked for x in one.reference or ()]
    lengths = [len(row) - s for one in ranked for row, s in zip(one.rows, one.starts, strict=True)]
    return (
        torch.tensor([x for one in logp for x in one]),
        torch.tensor(known) if known else None,
        torch.tensor(lengths),
        [one.ranks for one in ranked],
    )


def held_out_numbers(
    ready: Prepared, held: Sequence[Ranked], before: Sequence[Sequence[float]], policy: Transformer
) -> dict[str, Any]:
    """Accuracy by the implicit reward with its interval, and by log p per token before and after; the margin; the
    correlation of reward and length within prompts."""
    if not held:
        return {"held_out_accuracy": None}
    after = scores_of(policy, held, ready.tokenizer.pad_id)
    logp, reference, lengths, ranks = _flat(held, after)
    flat = iter(ready.config.preference.rewards(logp, reference, lengths).tolist())
    rewards = [[next(flat) for _ in one] for one in ranks]
    each = [[len(row) - s for row, s in zip(one.rows, one.starts, strict=True)] for one in held]

    def per_token(values: Sequence[Sequence[float]]) -> list[list[float]]:
        return [[x / n for x, n in zip(xs, ns, strict=True)] for xs, ns in zip(values, each, strict=True)]

    accuracy = accuracy_of(ready.held_out, rewards)
    gaps = [r[i] - r[j] for r, one in zip(rewards, ranks, strict=True) for i, j in untied_pairs(one)]
    return {
        "held_out_accuracy": accuracy.value,
        "held_out_accuracy_low": accuracy.low,
        "held_out_accuracy_high": accuracy.high,
        "held_out_pairs": accuracy.n,
        "likelihood_accuracy_before": accuracy_of(ready.held_out, per_token(before)).value,
        "likelihood_accuracy_after": accuracy_of(ready.held_out, per_token(after)).value,
        "held_out_margin": sum(gaps) / len(gaps) if gaps else None,
        "reward_length_correlation": length_correlations(ready.held_out, rewards, each)["reward"],
    }


def accuracy_of(comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]]) -> Interval:
    """Share of untied pairs whose better one scores higher (equal scores: half), by bootstrap over prompts."""
    hits: list[float] = []
    prompts: list[str] = []
    for one, s in zip(comparisons, scores, strict=True):
        for i, j in untied_pairs(one.ranks):
            hits.append(1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0)
            prompts.append(as_text(one.prompt))
    return cluster_bootstrap(hits, prompts)


def verdict(numbers: dict[str, Any]) -> str:
    """The result in one sentence."""
    drift = f"{numbers['drift_nats']:.1f} nats from the reference"
    if numbers.get("held_out_accuracy") is None:
        return f"Trained on all comparisons, none were held out; {drift}."
    interval = f"[{numbers['held_out_accuracy_low']:.1%}, {numbers['held_out_accuracy_high']:.1%}]"
    return (
        f"{numbers['held_out_accuracy']:.1%} {interval} of {numbers['held_out_pairs']:,} held-out pairs are "
        f"preferred as people did (by likelihood alone {numbers['likelihood_accuracy_before']:.1%} before, "
        f"{numbers['likelihood_accuracy_after']:.1%} after); {drift}."
    )
