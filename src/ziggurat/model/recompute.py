"""Blocks that keep only what they read, and are computed again in the backward pass.

Put on from outside, as `cpu.accelerate` is. Without gradients, and with a cache that keeps
what it is given, a block computes as before.
Source: "Training deep nets with sublinear memory cost", arXiv:1604.06174.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ziggurat.model.transformer import Block, Cache


def recompute_blocks(model: nn.Module) -> None:
    """Give every block inside `model` a class that recomputes, in place."""
    for module in model.modules():
        if isinstance(module, Block) and not getattr(module, "recomputes", False):
            module.__class__ = _recomputing(type(module))


_kinds: dict[Any, type[Block]] = {}


def _recomputing(kind: Any) -> type[Block]:
    """The class of that name whose forward pass is computed twice."""
    if kind in _kinds:
        return _kinds[kind]

    class Recomputed(kind):  # type: ignore[misc]
        recomputes = True

        def forward(
            self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None
        ) -> Tensor:
            keeps = cache is not None and not getattr(cache, "recomputes", False)
            if keeps or not torch.is_grad_enabled():
                return super().forward(x, rotary, bias, cache)  # type: ignore[no-any-return]
            return checkpoint(super().forward, x, rotary, bias, cache, use_reentrant=False)  # type: ignore[no-any-return]

    Recomputed.__name__ = f"Recomputed{kind.__name__}"
    _kinds[kind] = Recomputed
    return Recomputed
