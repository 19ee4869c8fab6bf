"""A model served with int8 weights: one byte of each matrix to read for a token, where bf16 has two.

    weight[o, i] = codes[o, i] * scales[o]        codes from -127 to 127, scales[o] = max |weight[o]| / 127

Every matrix but the embedding becomes int8: of that, one row is read a token, so it keeps its dtype (beside the int8
copy where the two are tied). Scales are bf16 numbers, so that every path multiplies by the same.

    one or two rows   CPUs with numba, bf16: `int8_kernels.py`, activations finer than bf16
    more rows         CPUs that multiply int8 (VNNI), by fbgemm: each token's activations are rounded to int8 as well,
                      in 255 steps over its own -max..max
    widened           elsewhere, weights only: codes are widened to the activations' dtype. Saves memory; for several
                      rows no time.

Sums of integers are exact, so that in the first two a token's result is the same bit for bit whatever the others are.
Where both are used there are two copies of the codes, each in its own order, as there are of bf16 weights.

For models to be served: the masters are dropped and nothing learns afterwards. Left out: scales by group, which neither
path multiplies by faster than bf16; int8 keys and values. Measured: see docs/engine.md.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ziggurat.errors import UsageError
from ziggurat.model.cpu import kernels
from ziggurat.model.hub.load import load_model, stored_dtype
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

STEPS = 127
"""The largest code of a weight or an activation."""
RANGE = (1.0, -(STEPS + 1) / STEPS, 0.0, 0.0)
"""Columns beside the activations, which lie within -1..1: with them fbgemm's own choice of a scale is 1 / 127."""
COMPILED_ROWS, FEW_ROWS = 2, 4
"""Up to so many rows the compiled product is the fastest; torch's weight-only one beats widening the matrix first."""
KEPT_ROWS = 64
"""Buffers for up to so many rows are kept from one product to the next."""


def load_to_serve(
    folder: Path,
    dtype: torch.dtype,
    weights: str = "auto",
    *,
    base: Path | None = None,
    device: torch.device | None = None,
) -> Transformer:
    """The Transformer of `folder`, computing in `dtype`; nothing may learn from it. `base`: of an adapter.

    Raises UsageError for other `weights` than auto and int8.
    """
    if weights not in ("auto", "int8"):
        raise UsageError(f"--weights is {weights!r}; it must be auto (the dtype computed in) or int8.")
    if weights == "auto":
        return load_model(folder, dtype=dtype, base=base).to(device or "cpu")
    model = load_model(folder, dtype=stored_dtype(base or folder), base=base).to(device or "cpu")
    quantize(model, dtype)
    model.adapter = None  # the base of virtual tokens would keep its weights
    return model


def quantize(model: Transformer, dtype: torch.dtype | None = None) -> None:
    """Make every matrix of `model` int8, in place, and compute in `dtype`.

    Best given the weights as they are stored: those that were rounded to bf16 first are rounded twice.
    `model` must be on the device it serves on.
    """
    dtype = dtype or model.compute_dtype
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, Int8Linear(child.weight.detach(), child.bias))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.requires_grad_(False)
    model.compute_dtype = dtype


def hold_int8(model: Transformer) -> None:
    """Hold every matrix of `model`, which stays still, in int8, in place; an adapter may learn beside it.

    Unlike `quantize` it rounds no activations: products are those of the widened matrices, and gradients pass through.
    """
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear):
                setattr(parent, name, Int8Linear(child.weight.detach(), child.bias, rounds_activations=False))
    model.requires_grad_(False)


def numerics(model: Transformer) -> str:
    """In words, what a model's products are computed in."""
    dtype = str(model.compute_dtype).removeprefix("torch.")
    matrix: nn.Module = model.unembedding
    if not isinstance(matrix, Int8Linear):
        return dtype
    integers = matrix.packed is not None
    return f"{dtype}, int8 weights" + (" and activations in matrix products" if integers else "")


def bytes_a_weight(model: Transformer) -> int:
    """Of a matrix that is read for every token."""
    matrix: nn.Module = model.unembedding
    return 1 if isinstance(matrix, Int8Linear) else model.compute_dtype.itemsize


def weight_bytes(model: nn.Module) -> int:
    """Bytes of all weights, codes and scales; second copies in an order that is faster are not counted."""
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    return stored + sum(m.code_bytes for m in model.modules() if isinstance(m, Int8Linear))


class Int8Linear(nn.Module):
    """In place of a `Linear`, to be served."""

    scales: Tensor  # (out,)
    codes: Tensor  # (out, in) int8

    def __init__(self, weight: Tensor, bias: Tensor | None, *, rounds_activations: bool = True) -> None:
        """weight (out, in), bias (out,). Without `rounds_activations` several rows take the widened path."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        codes, scales = to_int8(weight)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        integers = rounds_activations and weight.device.type == "cpu" and multiplies_int8()
        self.packed = pack(codes, scales) if integers else None
        self.register_buffer("scales", scales)
        self.register_buffer("codes", codes)

    @property
    def code_bytes(self) -> int:
        return self.codes.numel() + self.scales.numel() * self.scales.element_size()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.numel() // self.in_features, self.in_features)
        if torch.is_grad_enabled() and rows.requires_grad:
            y: Tensor = _Widened.apply(rows, self)  # type: ignore[no-untyped-call]
        elif len(rows) <= COMPILED_ROWS and kernels.decoding_loops(x) and (loops := _loops()):
            y = loops.linear_rows(rows, self.codes, self.scales)
        else:
            y = self._widened(rows) if self.packed is None else packed_linear(rows, self.packed)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def _widened(self, rows: Tensor) -> Tensor:
        """rows (N, in) -> (N, out)."""
        if rows.is_cpu and len(rows) <= FEW_ROWS:
            few: Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.codes, self.scales.to(rows.dtype))
            return few
        return F.linear(rows, self.codes.to(rows.dtype)) * self.scales.to(rows.dtype)

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """(out, in), as the codes say: codes and scales are bf16 numbers, so their product is rounded once."""
        return self.codes.to(dtype) * self.scales[:, None].to(dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {'widened' if self.packed is None else 'integers'}"


class _Widened(torch.autograd.Function):
    """rows W^T; W is widened again for the backward pass, not kept."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, layer: Int8Linear) -> Tensor:
        ctx.layer = layer
        return F.linear(rows, layer.weight_as(rows.dtype))

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


@functools.cache
def _loops() -> ModuleType | None:
    """Imported at the first call; None where they do not work."""
    from ziggurat.model.cpu import int8_kernels

    return int8_kernels if int8_kernels.work() else None


# --- more rows: fbgemm ----------------------------------------------------------------------------------------------


def pack(codes: Tensor, scales: Tensor) -> Any:
    """codes (out, in), scales (out,) -> what `packed_linear` multiplies by, in fbgemm's own order."""
    wider = F.pad(codes, (0, len(RANGE)))  # against the columns of RANGE
    with _fbgemm():
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        quantized = torch._make_per_channel_quantized_tensor(wider, scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(quantized, None)


def packed_linear(rows: Tensor, packed: Any) -> Tensor:
    """rows (N, in) -> (N, out) in the same dtype."""
    N, columns = rows.shape
    keep = _buffer if N <= KEPT_ROWS else _buffer.__wrapped__
    padded, within = keep(threading.get_ident(), N, columns)
    wide = rows.float()
    largest = wide.abs().amax(-1, keepdim=True).clamp_min_(1e-30)  # (N, 1)
    torch.div(wide, largest, out=within)
    y: Tensor = torch.ops.quantized.linear_dynamic.default(padded, packed)
    return y.mul_(largest).to(rows.dtype)


@functools.lru_cache(maxsize=32)
def _buffer(thread: int, rows: int, columns: int) -> tuple[Tensor, Tensor]:  # noqa: ARG001  # one for each thread
    """fp32 (rows, columns + len(RANGE)), the last columns filled, and the part before them."""
    with torch.inference_mode(False):  # it may be written to outside of inference mode too
        padded = torch.empty(rows, columns + len(RANGE))
        padded[:, columns:] = torch.tensor(RANGE)
        return padded, padded[:, :columns]


@functools.cache
def multiplies_int8() -> bool:
    """Whether fbgemm is here and its sums are exact: without VNNI pairs of products saturate at 16 bits."""
    try:
        codes = torch.full((8, 64), STEPS, dtype=torch.int8)
        codes[1::2] *= -1
        x = torch.ones(2, 64)
        x[1, ::2] = -1
        y = packed_linear(x, pack(codes, torch.ones(8)))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(y, x @ codes.float().T, rtol=1e-5)


@contextmanager
def _fbgemm() -> Iterator[None]:
    engine = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # quantized tensors may go; then `multiplies_int8` is False
            yield
    finally:
        torch.backends.quantized.engine = engine
