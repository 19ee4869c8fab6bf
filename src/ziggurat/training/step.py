"""One optimizer step on a batch in pieces: gradients of sums, divided once, clipped, refused or applied.

Gradients of the sums are added over the micro-batches and divided by the step's total count, so in how many pieces a
step is computed cannot change its result (but for the balance of experts, below), and a step that counts nothing
(comparisons all tied) moves nothing instead of dividing 0 by 0. A non-finite loss or gradient is refused before the
weights move.

Where a model has experts, the load-balancing loss (`model.experts`) is learned from too, times `experts.balance`. It is
that of each piece, all tokens and padding, and a step has the mean of its pieces, weighted by their counts. The loss
that is reported is without it; it has a metric of its own, `load_balance`.

Several processes (`training.parallel`) each compute pieces of the step, equally many: one that has fewer computes its
last one again, without weight. Sums and counts are those of all processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ziggurat.errors import TrainingError
from ziggurat.model.experts import mixtures_of, watched
from ziggurat.training import parallel
from ziggurat.training.device import device_of, moved
from ziggurat.training.optimizers import Optimizers, gradient_norm, scale_gradients

Extra = Mapping[str, "Tensor | float | tuple[Tensor | float, Tensor | float]"]
"""Further metrics of one micro-batch by name: a sum, which the step's count divides, or (sum, count) of its own."""

LossFn = Callable[[nn.Module, Any], "tuple[Tensor, Tensor | float] | tuple[Tensor, Tensor | float, Extra]"]
"""(model, micro-batch) -> (sum of losses, how many they are), or the same with further metrics.

A DPO loss returns, for example, `(sum, pairs, {"accuracy": right_pairs, "margin": summed_margins})`. The loop logs
each further metric in the row under its name, as the mean over the step.
"""


@dataclass(frozen=True)
class StepOutcome:
    """One optimizer step: mean loss (None where nothing counted), norm of the gradient before clipping, the count."""

    loss: float | None
    grad_norm: float
    count: int
    extra: dict[str, float] = field(default_factory=dict)
    """Means of the loss's further metrics; one whose count is 0 is left out."""


def optimizer_step(
    model: nn.Module, optimizer: Optimizers, pieces: list[Any], loss: LossFn, *, grad_clip: float, step: int
) -> StepOutcome:
    """Gradients of all pieces, divided by their total count, clipped, refused if not finite, then applied."""
    optimizer.zero_grad()
    total, count, extra = _summed(model, pieces, loss)  # here the CPU waits for the device
    if count == 0:
        return StepOutcome(None, 0.0, 0)
    parameters = optimizer.parameters
    parallel.add_up_gradients(parameters)
    mean, norm = total / count, float(gradient_norm(parameters)) / count
    if not (math.isfinite(mean) and math.isfinite(norm)):
        optimizer.zero_grad()
        what = f"loss is {mean}" if not math.isfinite(mean) else f"norm of the gradient is {norm}"
        raise TrainingError(
            f"step {step}: the {what}, so the step was refused and the weights are those of step {step - 1}; "
            "lower the learning rate, lengthen the warm-up or look at this step's data."
        )
    clip = grad_clip / norm if grad_clip and norm > grad_clip else 1.0
    scale_gradients(parameters, clip / count)
    optimizer.step()
    parallel.forget_gathered(model)
    return StepOutcome(mean, norm, round(count), extra)


@torch.no_grad()
def mean_loss(model: nn.Module, pieces: list[Any], loss: LossFn) -> StepOutcome:
    """The loss of a batch in pieces as `optimizer_step` reports it; no gradient is computed."""
    total, count, extra = _summed(model, pieces, loss)
    return StepOutcome(total / count if count else None, 0.0, round(count), extra)


def _summed(model: nn.Module, pieces: list[Any], loss: LossFn) -> tuple[float, float, dict[str, float]]:
    """(sum of losses, count, means of further metrics) over all pieces; gradients of the sums are accumulated."""
    total: Tensor | float = 0.0
    count = 0.0
    sums: dict[str, Tensor | float] = {}
    counts: dict[str, float] = {}
    device, mixtures = device_of(model), mixtures_of(model)
    for number in range(int(parallel.most(len(pieces)))):
        spare = number >= len(pieces)
        piece = moved(pieces[-1 if spare else number], device)
        with watched(mixtures) as routing:
            piece_sum, piece_count, *further = loss(model, piece)
            measured, learned, balance = dict(further[0] if further else {}), piece_sum, routing.balance()
            if balance is not None:
                learned = piece_sum + mixtures[0].config.balance * balance * piece_count
                measured["load_balance"] = balance * piece_count
            if spare:
                learned = learned * 0.0
            if learned.requires_grad:
                learned.backward()  # type: ignore[no-untyped-call]
        if spare:
            continue
        total = total + piece_sum.detach().float()
        count += float(piece_count)
        for name, value in measured.items():
            part, of = value if isinstance(value, tuple) else (value, piece_count)
            sums[name] = sums.get(name, 0.0) + (part.detach() if isinstance(part, Tensor) else part)
            counts[name] = counts.get(name, 0.0) + float(of)
    names = sorted(sums)
    mine = [float(total), count, *(float(sums[name]) for name in names), *(counts[name] for name in names)]
    total, count, *rest = parallel.summed(mine)
    means = zip(names, rest[: len(names)], rest[len(names) :], strict=True)
    return total, count, {name: value / of for name, value, of in means if of}
