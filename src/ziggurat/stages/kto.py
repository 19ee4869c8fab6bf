"""Learn from thumbs: single completions that are liked or not, no pairs needed (KTO).

    s(x, y) = log p(y | x) - log p_ref(y | x)
    z       = max(0, mean of s over mismatched pairs)      how far the policy is from the reference; no gradient
    liked       w_d · (1 - sigmoid(beta · (s - z)))
    disliked    w_u · (1 - sigmoid(beta · (z - s)))        the loss is the mean over the batch

z is the paper's estimate of KL(policy || reference): the prompts of the step's batch with completions of other
examples (equation 8). Which completion a prompt gets is drawn once, so the reference's log-probabilities of both are
computed once, before the first step. z is of the whole step, so microbatches cannot change the result.

Left out: the variant without a reference. Source: arXiv:2402.01306.

    ziggurat kto --base town/sft --data thumbs.jsonl
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.console import err
from ziggurat.evaluation.statistics import auroc, auroc_interval
from ziggurat.model.hub import save_model
from ziggurat.model.padding import by_length, right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.records import Rating
from ziggurat.settings import Resolved
from ziggurat.stages.kto_config import KTOConfig, Prepared, Rated, kto_config, prepare
from ziggurat.stages.likelihood import completion_logp, drift_of, load_policy, load_reference, rows_logp
from ziggurat.stages.method import answers_before_and_after
from ziggurat.stages.shuffled import Shuffled
from ziggurat.stages.stage import begin, finish
from ziggurat.training import train

__all__ = ["KTOConfig", "kto", "kto_config", "prepare"]


def kto(
    resolved: Resolved[KTOConfig],
    base: str | Path,
    ratings: Sequence[Rating],
    run_path: Path,
    *,
    reference: str | Path | None = None,
    held_out: Sequence[Rating] | None = None,
    data: list[dict[str, Any]] | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Path:
    """Train, save the model, write the report; returns the run's folder."""
    ready = prepare(resolved, base, ratings, reference=reference, held_out=held_out, data=data)
    config = ready.config
    with begin("kto", ready, run_path, resume=resume, overwrite=overwrite, manifest=ready.manifest) as run:
        policy = load_policy(ready.base, config.train, ready.seed)
        rated, held = with_reference(ready, policy)
        before = _logp(policy, held, ready.tokenizer.pad_id)
        result = train(
            run,
            policy,
            RatedBatches(rated, config.batch_ratings, ready, policy.embedding.weight.device),
            loss_of(config),
            config.train,
            split=split_rated,
            evaluate=_evaluator(ready, held[: config.eval_ratings]) if held else None,
            resume=resume,
            unit="ratings",
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


# --- the loss --------------------------------------------------------------------------------------------------------


def kto_loss(
    logratio: Tensor, liked: Tensor, z: float, *, beta: float, desirable: float, undesirable: float
) -> Tensor:
    """The loss of each completion (B,); `logratio` is s, `liked` bool.

    By hand, beta 0.5, z 1: s 2 and liked costs 1 - sigmoid(0.5) = 0.3775, disliked 1 - sigmoid(-0.5) = 0.6225.
    """
    gain = torch.sigmoid(beta * torch.where(liked, logratio - z, z - logratio))
    return torch.where(liked, desirable, undesirable) * (1.0 - gain)


@dataclass
class Mismatched:
    """The mismatched pairs of one step, shared by its microbatches; `z` is computed when the first of them asks."""

    rows: list[list[int]]
    starts: list[int]
    reference: list[float]
    pad_id: int
    _z: float | None = field(default=None, init=False)

    def z(self, model: Any) -> float:
        if self._z is None:
            now = rows_logp(model, self.rows, self.starts, self.pad_id)
            self._z = max(0.0, sum(a - b for a, b in zip(now, self.reference, strict=True)) / len(now))
        return self._z


@dataclass(frozen=True)
class RatedBatch:
    """Rated completions, right-padded."""

    ids: Tensor
    """(B, T)"""
    starts: Tensor
    """(B,) position of the completion's first token."""
    ends: Tensor
    """(B,) position of its last."""
    liked: Tensor
    """(B,) bool"""
    reference: Tensor
    """(B,) the completion's log-probability by the reference."""
    mismatched: Mismatched
    weights: Tensor
    """(B,) how much each counts in the loss."""


def loss_of(config: KTOConfig) -> Callable[[nn.Module, RatedBatch], tuple[Tensor, float, dict[str, Any]]]:
    """The loss of a microbatch, for the loop."""

    def loss(model: nn.Module, batch: RatedBatch) -> tuple[Tensor, float, dict[str, Any]]:
        z = batch.mismatched.z(model)
        ratio = completion_logp(model, batch.ids, batch.starts, batch.ends) - batch.reference
        each = kto_loss(
            ratio,
            batch.liked,
            z,
            beta=config.beta,
            desirable=config.desirable_weight,
            undesirable=config.undesirable_weight,
        )
        count, likes = float(batch.weights.sum()), float(batch.liked.sum())
        rewards = config.beta * ratio.detach()
        return (
            (each * batch.weights).sum(),
            count,
            {
                "kl": z * count,
                "liked_reward": ((rewards * batch.liked).sum(), likes),
                "disliked_reward": ((rewards * ~batch.liked).sum(), len(batch.liked) - likes),
            },
        )

    return loss


class RatedBatches(Shuffled):
    """Rated completions in shuffled epochs, a pure function of seed and position (`training.Batches`)."""

    def __init__(self, rated: Sequence[Rated], size: int, ready: Prepared, device: torch.device) -> None:
        super().__init__([len(one.row) for one in rated], size, f"{ready.seed} ratings")
        self.rated, self.pad_id, self.device = rated, ready.tokenizer.pad_id, device

    def next(self) -> RatedBatch:
        chosen = [self.rated[i] for i in self.chosen()]
        ids, lengths = right_pad([one.row for one in chosen], self.pad_id)
        starts = [one.start for one in chosen]
        return RatedBatch(
            ids.to(self.device),
            torch.tensor(starts, device=self.device),
            lengths.to(self.device) - 1,
            torch.tensor([one.liked for one in chosen], device=self.device),
            torch.tensor([one.reference for one in chosen], device=self.device),
            Mismatched(
                [one.mismatched for one in chosen],
                starts,
                [one.mismatched_reference for one in chosen],
                self.pad_id,
            ),
            torch.tensor([one.weight for one in chosen], device=self.device),
        )


def split_rated(batch: RatedBatch, pieces: int, tokens: int = 0) -> list[RatedBatch]:
    """Microbatches of rows of similar length, at least `pieces` if there are so many rows, each of at most `tokens`
    tokens, padding included (0: any number) unless a single row has more."""
    lengths = (batch.ends + 1).tolist()
    most = -(-len(lengths) // pieces)
    cut = []
    for chosen in by_length(lengths, tokens or sum(lengths) * max(lengths), rows=most):
        at = torch.tensor(chosen, device=batch.ids.device)
        width = lengths[chosen[0]]
        cut.append(
            RatedBatch(
                batch.ids[at, :width],
                batch.starts[at],
                batch.ends[at],
                batch.liked[at],
                batch.reference[at],
                batch.mismatched,
                batch.weights[at],
            )
        )
    return cut


# --- the reference, and held-out ratings -----------------------------------------------------------------------------


def with_reference(ready: Prepared, policy: Transformer) -> tuple[list[Rated], list[Rated]]:
    """(to learn from, held out) with the reference's log-probabilities; `policy` is still at its start."""
    model = policy
    if ready.reference_folder != ready.base:
        model = load_reference(ready.reference_folder, ready.config.train)
    pad_id = ready.tokenizer.pad_id
    both = [*ready.rated, *ready.held_out]
    own = _logp(model, both, pad_id)
    lent = rows_logp(model, [one.mismatched for one in both], [one.start for one in both], pad_id)
    filled = [
        replace(one, reference=a, mismatched_reference=b) for one, a, b in zip(both, own, lent, strict=True)
    ]
    return filled[: len(ready.rated)], filled[len(ready.rated) :]


def _logp(model: Transformer, rated: Sequence[Rated], pad_id: int) -> list[float]:
    rows, starts = [one.row for one in rated], [one.start for one in rated]
    return rows_logp(model, rows, starts, pad_id) if rows else []


def _evaluator(ready: Prepared, held: Sequence[Rated]) -> Callable[[nn.Module], dict[str, float]]:
    liked = [one.liked for one in held]

    def evaluate(model: Any) -> dict[str, float]:
        now = _logp(model, held, ready.tokenizer.pad_id)
        found = auroc([a - one.reference for a, one in zip(now, held, strict=True)], liked)
        return {"val_auroc": found} if 0 < sum(liked) < len(liked) else {}

    return evaluate


def held_out_numbers(
    ready: Prepared, held: Sequence[Rated], before: Sequence[float], policy: Transformer
) -> dict[str, Any]:
    """How often a liked held-out completion has a higher reward than a disliked one (AUROC) with its interval, by
    bootstrap over prompts; the same by log p per token, before and after."""
    liked = [one.liked for one in held]
    if not 0 < sum(liked) < len(liked):
        return {"held_out_auroc": None}
    after = _logp(policy, held, ready.tokenizer.pad_id)
    lengths = [len(one.row) - one.start for one in held]
    found = auroc_interval(
        [a - one.reference for a, one in zip(after, held, strict=True)], liked, ready.held_out_prompts
    )
    return {
        "held_out_auroc": found.value,
        "held_out_auroc_low": found.low,
        "held_out_auroc_high": found.high,
        "held_out_ratings": len(held),
        **{
            f"likelihood_auroc_{name}": auroc([x / n for x, n in zip(logp, lengths, strict=True)], liked)
            for name, logp in (("before", before), ("after", after))
        },
    }


def verdict(numbers: dict[str, Any]) -> str:
    """The result in one sentence."""
    drift = f"{numbers['drift_nats']:.1f} nats from the reference"
    if numbers.get("held_out_auroc") is None:
        return f"Trained on all ratings; none of both kinds were held out; {drift}."
    interval = f"[{numbers['held_out_auroc_low']:.1%}, {numbers['held_out_auroc_high']:.1%}]"
    return (
        f"A liked held-out completion is rewarded above a disliked one {numbers['held_out_auroc']:.1%} {interval} "
        f"of the time (by likelihood alone {numbers['likelihood_auroc_before']:.1%} before, "
        f"{numbers['likelihood_auroc_after']:.1%} after); {drift}."
    )
