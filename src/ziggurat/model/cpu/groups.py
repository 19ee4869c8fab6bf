"""Matrices of 8 or 4 bits a weight: along the input, 32 columns share a scale, as in llama.cpp's Q8_0 and Q4_1.

    8 bits    weight = scale * code             codes -127..127    8.5 bits a weight with its scale
    4 bits    weight = scale * code + least     codes 0..15        5 bits a weight with scale and least

Scales and least values are fp16 numbers. Codes lie in the order in which `compiled_tiles` reads them, which is the only
copy: for whatever the compiled loops do not compute (CUDA, gradients, no numba) they are widened to the dtype of the
activations, a part at a time.

Legend: N outputs, C columns, G = C / 32 groups, S = N / 16 strips (both rounded up).
Source: ggml-quants.c of llama.cpp (quantize_row_q8_0_ref, make_qkx2_quants).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.cpu import kernels
from ziggurat.model.cpu.int8 import Widened

if TYPE_CHECKING:
    from ziggurat.model.transformer import Transformer

STRIP, GROUP = 16, 32
"""As in `compiled_tiles`, which imports numba."""
STEPS8, STEPS4 = 127, 15
BIAS8 = 128
"""Added to codes of 8 bits, which lie as unsigned bytes."""
SHRINKS = (1.0, 0.92, 0.84, 0.76)
"""Shares of a group's range that are tried for 4 bits: a shorter one is finer for most weights, and cuts the outermost.
"""
FINE = ("qkv", "down", "unembedding")
"""Matrices of 8 bits whose activations are rounded to 15, at twice the multiplications. With 8 bits everywhere, half of
what int8 cost SmolLM2 came of these (docs/engine.md)."""
PART_WEIGHTS = 1 << 22
"""Weights that are rounded or widened at a time."""
COMPILED = (torch.bfloat16, torch.float32)


def strip_bytes(columns: int, bits: int) -> tuple[int, int]:
    """Of a whole strip, and of its scales alone."""
    groups = -(-columns // GROUP)
    scales = -(-groups * 2 * STRIP // 64) * 64
    return scales * (1 if bits == 8 else 2) + groups * GROUP * STRIP * bits // 8, scales


# --- rounding -------------------------------------------------------------------------------------------------------


def round8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C) -> codes (N, 32 G) uint8, 128 added, and scales (N, G) fp16."""
    groups = _grouped(weight)
    largest = groups.abs().amax(-1)
    scale = _half(largest / STEPS8)
    scale = torch.where(
        scale.float() * (STEPS8 + 0.5) < largest, _half(largest / STEPS8 * 1.001 + 6e-8), scale
    )
    codes = (groups * _inverse(scale.float())[..., None]).round_().clamp_(-STEPS8, STEPS8)
    return (codes + BIAS8).to(torch.uint8).flatten(1), scale


def round4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C) -> codes (N, 32 G) uint8 below 16, scales and least values (N, G) fp16.

    For each group the best of `SHRINKS` by squared error, scale and least value fitted to the codes by least squares.
    """
    groups = _grouped(weight)
    low, high = groups.amin(-1), groups.amax(-1)
    best: tuple[Tensor, ...] = ()
    for shrink in SHRINKS:
        middle, span = (low + high) / 2, (high - low) * shrink
        codes = _codes4(groups, span / STEPS4, middle - span / 2)
        if shrink == 1.0:
            scale, least = _half(span / STEPS4), _half(middle - span / 2)
        else:
            scale, least = _fitted(groups, codes)
        codes = _codes4(groups, scale.float(), least.float())
        wrong = (codes * scale.float()[..., None] + least.float()[..., None] - groups).square_().sum(-1)
        if not best:
            best = wrong, codes, scale, least
            continue
        better = wrong < best[0]
        best = tuple(
            torch.where(better[..., None] if new.ndim == 3 else better, new, old)
            for new, old in zip((wrong, codes, scale, least), best, strict=True)
        )
    return best[1].to(torch.uint8).flatten(1), best[2], best[3]


def _codes4(groups: Tensor, scale: Tensor, least: Tensor) -> Tensor:
    return ((groups - least[..., None]) * _inverse(scale)[..., None]).round_().clamp_(0, STEPS4)


def _fitted(groups: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and least value that give the groups best, by least squares over each group's codes."""
    mean_code, mean = codes.mean(-1), groups.mean(-1)
    away = codes - mean_code[..., None]
    scale = (away * groups).sum(-1) / away.square().sum(-1).clamp_min(1e-9)
    return _half(scale), _half(mean - scale * mean_code)


def _grouped(weight: Tensor) -> Tensor:
    """(N, C) in any dtype -> (N, G, 32) fp32; the last group is filled up with its last column, which rounds alike."""
    wide = weight.detach().float()
    if missing := -wide.shape[1] % GROUP:
        wide = torch.cat((wide, wide[:, -1:].expand(-1, missing)), 1)
    return wide.view(len(wide), -1, GROUP)


def _half(x: Tensor) -> Tensor:
    return x.clamp(-65504.0, 65504.0).half()


def _inverse(scale: Tensor) -> Tensor:
    return torch.where(scale == 0, 0.0, 1.0 / scale)


# --- strips -----------------------------------------------------------------------------------------------------------


def pack(codes: Tensor, scales: Tensor, least: Tensor | None = None) -> Tensor:
    """codes (N, 32 G) uint8, scales (N, G) fp16 and, for 4 bits, least values -> strips (S, bytes) uint8."""
    bits = 8 if least is None else 4
    N, columns = codes.shape
    G, missing = columns // GROUP, -N % STRIP
    size, scale_bytes = strip_bytes(columns, bits)
    strips = torch.zeros((N + missing) // STRIP, size, dtype=torch.uint8, device=codes.device)
    for place, numbers in enumerate((scales,) if least is None else (scales, least)):
        lanes = (
            F.pad(numbers, (0, 0, 0, missing)).view(-1, STRIP, G).transpose(1, 2).contiguous()
        )  # (S, G, 16)
        target = strips[:, place * scale_bytes : place * scale_bytes + 2 * STRIP * G]
        target.copy_(lanes.flatten(1).view(torch.uint8))
    rows = F.pad(codes, (0, 0, 0, missing), value=BIAS8 if bits == 8 else 0)
    lanes = rows.view(-1, STRIP, columns // 4, 4).transpose(1, 2)  # (S, C / 4, 16, 4)
    if bits == 4:
        lanes = lanes[:, ::2] | (lanes[:, 1::2] << 4)
    strips[:, size - rows[:STRIP].numel() * bits // 8 :].copy_(lanes.flatten(1))
    return strips


def unpack(strips: Tensor, columns: int, bits: int) -> Tensor:
    """Strips (S, bytes) -> weights (16 S, C), fp32."""
    G = -(-columns // GROUP)
    scale, least, codes = _views(strips, G, bits)
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), 2).flatten(1, 2)  # (S, C / 4, 16, 4)
    wide = codes.transpose(1, 2).reshape(-1, G, GROUP).float()  # (16 S, G, 32)
    scale, least = (x.transpose(1, 2).reshape(-1, G, 1).float() for x in (scale, least))
    return _weights(wide, scale, least, bits).flatten(1)[:, :columns]


def _weights(codes: Tensor, scale: Tensor, least: Tensor, bits: int) -> Tensor:
    """What codes (..., G, 32) stand for; scale and least (..., G, 1); all fp32."""
    return (codes - BIAS8) * scale if bits == 8 else codes * scale + least


def _views(strips: Tensor, G: int, bits: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scales and least values (S, G, 16) fp16, codes (S, vectors, 16, 4) uint8; for 8 bits least values are scales."""
    size, scale_bytes = strip_bytes(G * GROUP, bits)
    numbers = strips.view(torch.float16)
    at = 0 if bits == 8 else scale_bytes // 2
    scale, least = (numbers[:, a : a + STRIP * G].view(-1, G, STRIP) for a in (0, at))
    codes = strips[:, size - G * GROUP * STRIP * bits // 8 :].view(len(strips), -1, STRIP, 4)
    return scale, least, codes


# --- modules ----------------------------------------------------------------------------------------------------------


class GroupedLinear(nn.Module):
    """In place of a `Linear`: nothing of it learns."""

    strips: Tensor  # (S, bytes) uint8

    def __init__(self, strips: Tensor, shape: tuple[int, int], bits: int, bias: Tensor | None = None) -> None:
        """strips: of `pack`; shape (N, C); bias (N)."""
        super().__init__()
        (self.out_features, self.in_features), self.bits = shape, bits
        self.fine = False  # whether activations are rounded to 15 bits instead of 8
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.register_buffer("strips", strips)

    @classmethod
    def rounded(cls, weight: Tensor, bias: Tensor | None, bits: int) -> Self:
        """weight (N, C) in any dtype, rounded to the nearest codes."""
        N, C = weight.shape
        strips = torch.empty(-(-N // STRIP), strip_bytes(C, bits)[0], dtype=torch.uint8, device=weight.device)
        for first, last in _parts(N, C):
            rows = weight[first:last]
            made = pack(*round8(rows)) if bits == 8 else pack(*round4(rows))
            strips[first // STRIP : first // STRIP + len(made)] = made
        return cls(strips, (N, C), bits, bias)

    @property
    def code_bytes(self) -> int:
        return self.strips.numel()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.numel() // self.in_features, self.in_features)
        if torch.is_grad_enabled() and rows.requires_grad:
            y: Tensor = Widened.apply(rows, self)  # type: ignore[no-untyped-call]
        elif x.is_cpu and x.dtype in COMPILED and (loops := kernels.group_loops()):
            y = loops.linear_rows(rows, self.strips, self.bits, self.out_features, self.bias, fine=self.fine)
            return y.view(*x.shape[:-1], self.out_features)
        else:
            y = self._widened(rows)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def _widened(self, rows: Tensor) -> Tensor:
        """rows (M, C) -> (M, N), a part of the matrix at a time."""
        parts = [F.linear(rows, self.rows_as(rows.dtype, *part)) for part in _parts(*self.shape)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    @property
    def shape(self) -> tuple[int, int]:
        return self.out_features, self.in_features

    def rows_as(self, dtype: torch.dtype, first: int, last: int) -> Tensor:
        """(last - first, C) of the weights as the codes say; `first` is a multiple of 16."""
        strips = self.strips[first // STRIP : -(-last // STRIP)]
        return unpack(strips, self.in_features, self.bits)[: last - first].to(dtype)

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """(N, C) as the codes say."""
        whole = torch.empty(self.shape, dtype=dtype, device=self.strips.device)
        for first, last in _parts(*self.shape):
            whole[first:last] = self.rows_as(dtype, first, last)
        return whole

    def rows(self, ids: Tensor) -> Tensor:
        """Rows of the matrix: ids of any shape -> (..., C), fp32."""
        if ids.is_cpu and (loops := kernels.group_loops()):
            found: Tensor = loops.rows(ids.flatten(), self.strips, self.bits, self.in_features)
            return found.view(*ids.shape, self.in_features)
        G = -(-self.in_features // GROUP)
        strip, lane = ids.flatten() // STRIP, ids.flatten() % STRIP
        scale, least, codes = (view.movedim(-1, 1) if view.ndim == 3 else view.movedim(2, 1) for view in
                               _views(self.strips, G, self.bits))  # fmt: skip
        scale, least, codes = (
            scale[strip, lane],
            least[strip, lane],
            codes[strip, lane],
        )  # (n, G), (n, vectors, 4)
        if self.bits == 4:
            codes = torch.stack((codes & 15, codes >> 4), 2)
        wide = codes.reshape(-1, G, GROUP).float()
        scale, least = scale.float()[..., None], least.float()[..., None]
        wide = _weights(wide, scale, least, self.bits)
        return wide.flatten(1)[:, : self.in_features].reshape(*ids.shape, self.in_features)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, {self.bits} bits{', fine' * self.fine}"


def _parts(N: int, C: int) -> Iterator[tuple[int, int]]:
    """Rows that are rounded or widened together, whole strips of them."""
    count = max(1, PART_WEIGHTS // (C * STRIP)) * STRIP
    for first in range(0, N, count):
        yield first, min(N, first + count)


class GroupedEmbedding(nn.Module):
    """In place of an `Embedding`: rows of a matrix of few bits, in fp32. That of a tied unembedding is shared."""

    def __init__(self, matrix: GroupedLinear) -> None:
        super().__init__()
        self.matrix = matrix

    @property
    def weight(self) -> Tensor:
        """What tells the device; its bytes are no numbers."""
        return self.matrix.strips

    def forward(self, ids: Tensor) -> Tensor:
        return self.matrix.rows(ids)


def put_grouped(model: Transformer, name: str, matrix: GroupedLinear) -> None:
    """`matrix` in the place of the `Linear` that has the weight of this name; of embedding.weight, in that of both."""
    if name == "embedding.weight":
        name, embedding = "unembedding.weight", GroupedEmbedding(matrix)
        model.embedding = embedding  # type: ignore[assignment]
    path, _, own = name.removesuffix(".weight").rpartition(".")
    parent = model.get_submodule(path) if path else model
    matrix.bias, matrix.fine = getattr(parent, own).bias, matrix.bits == 8 and own in FINE
    setattr(parent, own, matrix)
    fast: Any = model
    fast._table = None  # of the matrices before (`fast.FastTransformer`)
