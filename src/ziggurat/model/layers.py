"""The leaves of the Transformer in plain torch: linear map, embedding, norms, positions, attention, activations, loss.

Parameters keep their own dtype (fp32 in training); each leaf computes in the dtype of its input. On a CPU
`model.cpu.accelerate` replaces several of these by compiled loops; this file defines what they compute.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import Activation, ModelConfig


class Linear(nn.Linear):
    """A linear map whose weight is cast to the dtype of its input."""

    def reset_parameters(self) -> None:
        """Draws nothing: `Transformer.init_weights` draws all weights."""

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """(out, in) in `dtype`."""
        return self.weight.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_as(x.dtype), None if self.bias is None else self.bias.to(x.dtype))


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Draws nothing, as in Linear."""


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * gain."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    """x (..., C), gain (C,) in any dtype -> (..., C)."""
    y: Tensor = F.rms_norm(x, (x.shape[-1],), gain.to(x.dtype), eps)
    return y


class LayerNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def make_norm(config: ModelConfig, width: int) -> nn.Module:
    return (RMSNorm if config.norm == "rmsnorm" else LayerNorm)(width, config.norm_eps)


def rotary_table(config: ModelConfig) -> Tensor:
    """(context, 2, D): cos and sin of position * theta^(-2i/D), both halves alike, sin's first half negated.

    Rotation by halves: y = x * cos + roll(x, D/2) * sin, that is y[i] = x[i] cos - x[i+D/2] sin and
    y[i+D/2] = x[i+D/2] cos + x[i] sin.
    """
    half = config.d_head // 2
    frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency  # (context, D/2)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), dim=1).float()


def rotate(x: Tensor, rotary: Tensor) -> Tensor:
    """x (B, T, H, D) turned by halves: x cos + roll(x, D/2) sin, with rows of `rotary_table`: (..., 1, 2, D)."""
    cos, sin = rotary.unbind(-2)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def sinusoid_table(config: ModelConfig) -> Tensor:
    """(context, C): sines in the even columns, cosines in the odd (Vaswani et al., arXiv:1706.03762, 3.5)."""
    frequency = 10_000.0 ** (-torch.arange(0, config.d_model, 2, dtype=torch.float64) / config.d_model)
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


def causal_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D); bias (B, 1, T, T) from `causal_bias`, or plainly causal."""
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=bias is None, enable_gqa=grouped)


def causal_bias(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T) -> (B, 1, T, T): 0 where the key is not later and of the same segment, elsewhere minus infinity."""
    T = segments.shape[1]
    seen = (segments[:, :, None] == segments[:, None, :]).tril_()
    bias = torch.zeros(len(segments), T, T, dtype=dtype, device=seen.device)
    return bias.masked_fill_(~seen, -torch.inf)[:, None]


def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target: hidden (N, C), weight (V, C), targets (N) -> (N), in at least fp32."""
    logits = F.linear(hidden, weight)
    wide = torch.promote_types(logits.dtype, torch.float32)
    return F.cross_entropy(logits.to(wide), targets, reduction="none")


def swiglu(x: Tensor) -> Tensor:
    """(..., 2 F), gate and up -> (..., F): silu(gate) * up."""
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "swiglu": swiglu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}
