"""Learning-rate schedules: a pure function from the step to a factor between 0 and 1.

    factor
      1 |   ______                 constant
        |  /      \\__
        | /          \\__           linear (to `final`), cosine bends the same fall
        |/              \\__
      0 +--+---------------+-> step
        0 warmup         steps

The first step already moves (factor 1/warmup, not 0) and the last one still does: `final` would be reached *at*
`steps`, one after the last step taken, so no step is spent on a rate of zero.

Left out: restarts, and schedules that depend on the loss.
"""

from __future__ import annotations

import math
from typing import Literal

ScheduleKind = Literal["linear", "cosine", "constant"]


def lr_factor(step: int, steps: int, warmup: int, kind: ScheduleKind = "linear", final: float = 0.0) -> float:
    """Factor for the step with index `step` (0 is the first of `steps`)."""
    if step < warmup:
        return (step + 1) / warmup
    if kind == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if kind == "cosine":
        done = (1.0 - math.cos(math.pi * done)) / 2.0
    return 1.0 - (1.0 - final) * done


def describe_schedule(steps: int, warmup: int, kind: ScheduleKind, final: float) -> str:
    """One clause for people: "warm-up 20 steps, then linear to 0 at step 500"."""
    start = f"warm-up {warmup:,} steps, then " if warmup else ""
    if kind == "constant":
        return f"{start}constant until step {steps:,}"
    return f"{start}{kind} to {final:g} at step {steps:,}"
