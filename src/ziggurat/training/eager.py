"""torch's optimizers without torch's compiler.

An optimizer of torch imports `torch._dynamo` to keep its own methods out of compiled code: 2 s of the start of every
training, of which a process that compiles no optimizer uses nothing. `torch.compile` imports it itself where blocks
are compiled.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.optim import Optimizer

KEPT_OUT = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""The methods of `Optimizer` that `torch._disable_dynamo` decorates (torch 2.9 to 2.13)."""


def leave_the_compiler_out() -> None:
    """Call the bare methods: their decorator keeps what it calls in this attribute, and imports only to fill it."""
    for name in KEPT_OUT:
        bare = getattr(getattr(Optimizer, name), "__wrapped__", None)
        if bare is not None and not hasattr(bare, "__dynamo_disable"):
            setattr(bare, "__dynamo_disable", bare)


class AdamW(torch.optim.AdamW):
    """torch's, with a step that breaks no graph of a compiler, as there is none."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return BARE_STEP(self, closure)


BARE_STEP: Any = inspect.unwrap(torch.optim.AdamW.step)
