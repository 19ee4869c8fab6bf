"""The leaves of the Transformer: linear map, embedding, norms, position tables, activations.

Parameters are masters in their own dtype (fp32 in training); each leaf computes in the dtype of what comes in. Weights
are not drawn here: `Transformer.init_weights` is the one place for that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import Activation, ModelConfig
from ziggurat.model.cpu.kernels import compiled, rms_norm, swiglu


class Linear(nn.Linear):
    """A linear map whose master weight is cast to the dtype of its input.

    Without gradients (generation) the cast weight is kept until the master changes: an optimizer's in-place update
    raises the tensor's version. Assigning through `.data` does not raise it: never do that to a live model. On a CPU
    there are two bf16 copies, each made when it is first wanted: for several rows one in the order in which the
    processor's matrix unit reads it (1.1 to 1.9 times as fast for up to 16 rows), for a single row the plain one.
    """

    _plain: Kept | None = None
    _packed: Kept | None = None

    def reset_parameters(self) -> None:
        """Nothing: `Transformer.init_weights` is the one place where weights are drawn."""

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        if self.weight.dtype == dtype:
            return self.weight
        if torch.is_grad_enabled():
            self._plain = self._packed = None
            return self.weight.to(dtype)
        if not _fresh(self._plain, self.weight, dtype):
            self._plain = _version(self.weight), self.weight.detach().to(dtype)
        assert self._plain is not None
        return self._plain[1]

    def _packed_as(self, dtype: torch.dtype) -> Tensor:
        if not _fresh(self._packed, self.weight, dtype):
            self._packed = _version(self.weight), pack(self.weight.detach().to(dtype))
        assert self._packed is not None
        return self._packed[1]

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        # At T = 1 torch may take (B, T, C) for B products of one row, 20 times slower; rows it cannot mistake.
        rows = x.reshape(x.numel() // x.shape[-1], x.shape[-1])
        if len(rows) == 1 and (kernels := compiled(x)):
            y: Tensor = kernels.linear_row(rows, self.weight_as(x.dtype), bias)
        elif PACKS and x.is_cpu and x.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            y = packed_linear(rows, self._packed_as(x.dtype), bias)
        else:
            y = F.linear(rows, self.weight_as(x.dtype), bias)
        return y.view(*x.shape[:-1], self.out_features)


Kept = tuple[tuple[Tensor, int], Tensor]
"""A master weight and its version, and a copy of it."""


def _version(weight: Tensor) -> tuple[Tensor, int]:
    return weight, 0 if weight.is_inference() else weight._version


def _fresh(kept: Kept | None, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a copy was made of this very state of the master."""
    if kept is None or kept[1].dtype != dtype:
        return False
    (master, version), now = kept[0], _version(weight)
    return master is now[0] and version == now[1]


def _can_pack() -> bool:
    """Whether this build of torch and this processor multiply packed bf16 matrices, with the result of plain ones."""
    try:
        weight, x = torch.randn(32, 32).bfloat16(), torch.randn(2, 32).bfloat16()
        packed_bf16: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return packed_bf16 and torch.equal(packed_linear(x, pack(weight), None), F.linear(x, weight))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def pack(weight: Tensor) -> Tensor:
    """(out, in), bf16, on a CPU -> the same in the matrix unit's own order: opaque to all but `packed_linear`."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, 16)
    return packed


def packed_linear(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """x (N, in) -> (N, out)."""
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return y


PACKS = _can_pack()


class Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """Nothing, as in Linear."""


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


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


def sinusoid_table(config: ModelConfig) -> Tensor:
    """(context, C): sines in the even columns, cosines in the odd (Vaswani et al., arXiv:1706.03762, 3.5)."""
    frequency = 10_000.0 ** (-torch.arange(0, config.d_model, 2, dtype=torch.float64) / config.d_model)
    angle = torch.arange(config.context, dtype=torch.float64)[:, None] * frequency
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "swiglu": swiglu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu": F.gelu,
    "relu": F.relu,
    "relu2": lambda x: F.relu(x).square(),
}
