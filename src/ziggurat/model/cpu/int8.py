"""A base that stays still in training, held in int8: one byte of each matrix where bf16 has two (QLoRA-like).

    weight[o, i] = codes[o, i] * scales[o]        codes from -127 to 127, scales[o] = max |weight[o]| / 127

Scales are bf16 numbers. Codes are widened to the activations' dtype for every product: this saves memory and no time.
To serve a model in 8 or 4 bits there are finer scales and products of integers: `quantized.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

STEPS = 127
"""The largest code."""
FEW_ROWS = 4
"""Up to so many rows torch's weight-only product beats widening the matrix first."""


def hold_int8(model: Transformer) -> None:
    """Hold every matrix of `model`, which stays still, in int8, in place; an adapter may learn beside it.

    Products are those of the widened matrices: no activation is rounded, and gradients pass through.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, Int8Linear(child.weight.detach(), child.bias))
    model.requires_grad_(False)


class Int8Linear(nn.Module):
    """In place of a `Linear` that stays still; gradients reach what it is given."""

    scales: Tensor  # (out,)
    codes: Tensor  # (out, in) int8

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight (out, in), bias (out,)."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        codes, scales = to_int8(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.register_buffer("scales", scales)
        self.register_buffer("codes", codes)

    @property
    def code_bytes(self) -> int:
        return self.codes.numel() + self.scales.numel() * self.scales.element_size()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.numel() // self.in_features, self.in_features)
        if torch.is_grad_enabled() and rows.requires_grad:
            y: Tensor = Widened.apply(rows, self)  # type: ignore[no-untyped-call]
        elif rows.is_cpu and len(rows) <= FEW_ROWS:
            y = torch.ops.aten._weight_int8pack_mm(rows, self.codes, self.scales.to(rows.dtype))
        else:
            y = F.linear(rows, self.codes.to(rows.dtype)) * self.scales.to(rows.dtype)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """(out, in), as the codes say: codes and scales are bf16 numbers, so their product is rounded once."""
        return self.codes.to(dtype) * self.scales[:, None].to(dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"


class Widened(torch.autograd.Function):
    """rows W^T of a layer with `weight_as`; W is widened again for the backward pass, not kept."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layer: Any) -> Tensor:
        ctx.layer = layer
        weight: Tensor = layer.weight_as(rows.dtype)
        return F.linear(rows, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return dy @ ctx.layer.weight_as(dy.dtype), None


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) -> codes (out, in) int8, scales (out,) fp32 that are bf16 numbers; a row of zeros stays zeros."""
    largest = weight.float().abs().amax(1)
    scales = (largest / STEPS).bfloat16().float().clamp_min(torch.finfo(torch.bfloat16).tiny)
    codes = (weight.float() / scales[:, None]).round_().clamp_(-STEPS, STEPS)
    return codes.to(torch.int8), scales
