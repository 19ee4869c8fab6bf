"""One optimizer step on a batch in pieces: gradients of sums, divided once, clipped, refused or applied.

Gradients of the sums are added over the micro-batches and divided by the step's total count, so in how many pieces a
step is computed cannot change its result, and a step that counts nothing (comparisons all tied) moves nothing instead
of dividing 0 by 0. A non-finite loss or gradient is refused before the weights move.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ziggurat.errors import TrainingError
from ziggurat.training.optimizers import Optimizers, gradient_norm, scale_gradients

LossFn = Callable[[nn.Module, Any], tuple[Tensor, Tensor | float]]
"""(model, micro-batch) -> (sum of losses, how many they are)."""


@dataclass(frozen=True)
class StepOutcome:
    """One optimizer step: mean loss (None where nothing counted), norm of the gradient before clipping, the count."""

    loss: float | None
    grad_norm: float
    count: int


def optimizer_step(
    model: nn.Module, optimizer: Optimizers, pieces: list[Any], loss: LossFn, *, grad_clip: float, step: int
) -> StepOutcome:
    """Gradients of all pieces, divided by their total count, clipped, refused if not finite, then applied."""
    optimizer.zero_grad()
    total: Tensor | float = 0.0
    count = 0.0
    for piece in pieces:
        piece_sum, piece_count = loss(model, piece)
        if piece_sum.requires_grad:
            piece_sum.backward()  # type: ignore[no-untyped-call]
        total = total + piece_sum.detach().float()
        count += float(piece_count)
    if count == 0:
        return StepOutcome(None, 0.0, 0)
    parameters = optimizer.parameters
    # the one place where the CPU waits for the device
    total_value, norm = float(total), float(gradient_norm(parameters)) / count
    mean = total_value / count
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
    return StepOutcome(mean, norm, round(count))
