"""The leaves of the Transformer in plain torch: linear map, embedding, norms, positions, attention, activations, loss.

Parameters keep their own dtype (fp32 in training); each leaf computes in the dtype of its input. On a CPU
`model.cpu.accelerate` replaces several of these by compiled loops; this file defines what they compute.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import Activation, ModelConfig, RotaryScaling


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


def rotary_table(config: ModelConfig, *, windowed: bool = False) -> Tensor:
    """(context, 2, D): cos and sin of position * frequency, both halves alike, sin's first half negated.

    Rotation by halves: y = x * cos + roll(x, D/2) * sin, that is y[i] = x[i] cos - x[i+D/2] sin and
    y[i+D/2] = x[i+D/2] cos + x[i] sin. Where only a part of a head turns, the frequency of the other pairs is 0.
    `windowed`: that of the windowed layers, where they have a base of their own.
    """
    own = windowed and config.window_theta is not None
    scaling = None if own else config.rotary_scaling
    theta = config.window_theta if own and config.window_theta else config.rope_theta
    turning, half = config.rotary_width // 2, config.d_head // 2
    frequency = theta ** (-torch.arange(turning, dtype=torch.float64) / turning)  # (R/2,)
    factor = 1.0
    if scaling is not None:
        frequency, factor = scaled(frequency, scaling, theta)
    frequency = F.pad(frequency, (0, half - turning))
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency  # (context, D/2)
    cos, sin = angle.cos() * factor, angle.sin() * factor
    return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)), dim=1).float()


def scaled(frequency: Tensor, scaling: RotaryScaling, theta: float) -> tuple[Tensor, float]:
    """Frequencies (R/2,) stretched by `scaling`, and what cos and sin are multiplied by.

    Sources: linear, Chen et al. (arXiv:2306.15595); llama3, Llama 3.1's own code; yarn, Peng et al. (arXiv:2309.00071).
    """
    if scaling.kind == "linear":
        return frequency / scaling.factor, 1.0
    if scaling.kind == "llama3":
        turns = scaling.original_context * frequency / (2 * math.pi)  # within the original context
        low, high = scaling.low_freq_factor, scaling.high_freq_factor
        kept = ((turns - low) / (high - low)).clamp(0, 1)  # 1: stays
        return kept * frequency + (1 - kept) * frequency / scaling.factor, 1.0
    half = len(frequency)
    first, last = (
        half * math.log(scaling.original_context / (turns * 2 * math.pi)) / math.log(theta)
        for turns in (scaling.beta_fast, scaling.beta_slow)
    )  # the dimensions that turn so often within the original context
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * half - 1)
    ramp = (torch.arange(half, dtype=torch.float64) - first) / (last - first or 0.001)
    stretched = ramp.clamp(0, 1)
    factor = scaling.attention_factor or 0.1 * math.log(max(scaling.factor, 1.0)) + 1.0
    return (1 - stretched) * frequency + stretched * frequency / scaling.factor, factor


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


SHARED = -2
"""The segment of tokens that every later token of their row attends to: a prompt before several completions."""


def causal_bias(segments: Tensor, dtype: torch.dtype, window: int | None = None) -> Tensor:
    """(B, T) -> (B, 1, T, T): 0 where the key is not later, of the same segment (or SHARED) and within the window,
    elsewhere minus infinity. The window is counted in places of the row."""
    T = segments.shape[1]
    key = segments[:, None, :]
    seen = ((segments[:, :, None] == key) | (key == SHARED)).tril_()
    if window is not None:
        seen = seen.triu_(1 - window)
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


def geglu(x: Tensor, approximate: str = "none") -> Tensor:
    """(..., 2 F), gate and up -> (..., F): gelu(gate) * up."""
    gate, up = x.chunk(2, dim=-1)
    return F.gelu(gate, approximate=approximate) * up


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "swiglu": swiglu,
    "geglu": geglu,
    "geglu_tanh": lambda x: geglu(x, "tanh"),
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}
