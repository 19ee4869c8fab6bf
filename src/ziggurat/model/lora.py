"""LoRA and DoRA on any linear layer of a Transformer, put on from outside; the base stays as it is and is shared.

    y = W x + s B A x           W (out, in) frozen; A (rank, in) and B (out, rank) learn; s = alpha / rank
    y = m / |W + s B A| y       DoRA: m (out) learns too; the norm of each row is a number, not a path of the gradient

`adapt` returns a second Transformer that holds the very modules of the base, with a `LoraLinear` around those that
are adapted. So the base is the model with its adapter off (the reference of PPO and DPO costs nothing), and several
adapters stand over one base. A fused matrix (q, k and v; gate and up) has one adapter for each of its pieces, as
others have who store them apart. B starts at 0, so the adapted model starts as the base.

All pieces of a matrix are one product: their A are stacked, and B is laid out block by block beside the zeros.

    A (P rank, in) = [A_q; A_k; A_v]        B (out, P rank) = [B_q 0 0; 0 B_k 0; 0 0 B_v]

The base may be bf16 or int8 (`cpu.int8`): nothing of it learns, so it needs no fp32 masters. Left out: adapters of
embeddings and of biases, ranks that differ between layers.
Sources: LoRA, arXiv:2106.09685; DoRA, arXiv:2402.09353; a frozen base of few bits, arXiv:2305.14314.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ziggurat.errors import ConfigError, did_you_mean
from ziggurat.model.cpu import accelerate
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer
from ziggurat.settings import Config

ALL = "all"


class LoraConfig(Config):
    """Settings of an adapter; read where `trainable` is lora."""

    rank: int = Field(default=16, ge=1)
    """Rows of A: the numbers that learn grow with it."""

    alpha: float = Field(default=32.0, gt=0)
    """What the adapter writes is multiplied by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs that are set to 0 in training; PPO drops none."""

    targets: tuple[str, ...] = (ALL,)
    """Linear layers with an adapter, by the names that the model's family gives them (q_proj, v_proj, ...), or all:
    every one of the blocks. The unembedding (lm_head) must be named."""

    last_blocks: int = Field(default=0, ge=0)
    """Only the last so many blocks have adapters, and the backward pass ends there; 0: all blocks."""

    dora: bool = False
    """DoRA: the length of each row learns apart from its direction. Slower."""

    base: Literal["auto", "int8"] = "auto"
    """What the frozen matrices are held in. auto: the dtype computed in. int8: a byte a weight, widened for every
    product; what it costs is printed before the first step."""

    lr_factor: float = Field(default=10.0, gt=0)
    """The adapter's learning rate is `lr_adam` times this."""

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


class Piece(NamedTuple):
    """Rows of a linear layer that others store as a layer of its own."""

    name: str
    rows: int


Layout = Mapping[str, Sequence[Piece]]
"""Linear layer of ours (`blocks.0.attention.qkv`) -> its pieces, in the order of its rows."""


@dataclass(frozen=True)
class Adapter:
    """What an adapted Transformer knows of its adapter beside the numbers."""

    config: Config
    """A LoraConfig, or a PrefixConfig of `model.prefix`."""
    base: Transformer
    """The model with its adapter off: another object over the same weights."""

    @property
    def base_folder(self) -> Path | None:
        """Where the base was loaded from; None for one that was never on disk."""
        return self.base.source


class LoraLinear(nn.Module):
    """A linear layer of the base with its adapter beside it."""

    def __init__(self, base: nn.Module, rows: Sequence[range], config: LoraConfig) -> None:
        """`rows`: of each piece with an adapter."""
        super().__init__()
        self.base, self.rows, self.scale, self.dropout = base, tuple(rows), config.scale, config.dropout
        self.in_features: int = base.in_features  # type: ignore[assignment]
        self.out_features: int = base.out_features  # type: ignore[assignment]
        device = next(iter((*base.parameters(), *base.buffers()))).device
        self.lora_a = nn.Parameter(torch.empty(len(rows) * config.rank, self.in_features, device=device))
        self.lora_b = nn.Parameter(torch.zeros(sum(map(len, rows)), config.rank, device=device))
        self.magnitude: nn.Parameter | None = None
        self._laid_out: tuple[tuple[Any, ...], Tensor, Tensor] | None = None
        if config.dora:
            self.magnitude = nn.Parameter(self.row_norms(base_only=True))

    @property
    def bias(self) -> Tensor | None:
        found: Tensor | None = self.base.bias  # type: ignore[assignment]
        return found

    def base_weight(self, dtype: torch.dtype) -> Tensor:
        """(out, in), without gradient."""
        weight: Tensor = self.base.weight_as(dtype)  # type: ignore[operator]
        return weight.detach()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(x.numel() // self.in_features, self.in_features)
        learns = torch.is_grad_enabled()
        low = F.dropout(rows, self.dropout) if self.dropout and self.training and learns else None
        if learns:
            y: Tensor = _Product.apply(rows, low, self.lora_a, self.lora_b, self)  # type: ignore[no-untyped-call]
        else:
            y = self._without_gradient(rows)
        if self.magnitude is not None:
            y = y * self.stretch().to(y.dtype)
        if self.bias is not None and (learns or self.magnitude is not None):
            y = y + self.bias.to(y.dtype)
        return y.view(*x.shape[:-1], self.out_features)

    def _without_gradient(self, rows: Tensor) -> Tensor:
        """By the base's own fast product, its bias included unless rows are stretched afterwards."""
        if self.magnitude is None:
            y: Tensor = self.base(rows)
        else:
            y = F.linear(rows, self.base_weight(rows.dtype))
        a, b = self.laid_out(rows.dtype)
        return torch.addmm(y, rows @ a.T, b.T, alpha=self.scale)

    def laid_out(self, dtype: torch.dtype, *, keep: bool = True) -> tuple[Tensor, Tensor]:
        """A (P rank, in) and B (out, P rank) of all pieces in `dtype`.

        Kept until they change, or until a forward pass with gradients: fused AdamW raises no tensor's version.
        """
        now = (dtype, id(self.lora_a), _version(self.lora_a), id(self.lora_b), _version(self.lora_b))
        if self._laid_out is not None and keep and self._laid_out[0] == now:
            return self._laid_out[1], self._laid_out[2]
        b = blocks_of(self.lora_b.detach(), self.rows, self.out_features)
        made = self.lora_a.detach().to(dtype), b.to(dtype)
        self._laid_out = (now, *made) if keep else None
        return made

    # --- DoRA ----------------------------------------------------------------------------------------------------

    def stretch(self) -> Tensor:
        """(out,) m / |W + s B A| of adapted rows, 1 of others; the gradient reaches m alone."""
        assert self.magnitude is not None
        factor = self.magnitude / self.row_norms()
        if len(factor) == self.out_features:
            return factor
        return factor.new_ones(self.out_features).index_copy(0, self._adapted_rows(), factor)

    def _adapted_rows(self) -> Tensor:
        return torch.cat([torch.arange(r.start, r.stop) for r in self.rows]).to(self.lora_a.device)

    @torch.no_grad()
    def row_norms(self, *, base_only: bool = False) -> Tensor:
        """Of the adapted rows of W + s B A, fp32.

        |w + s b A|^2 = |w|^2 + 2 s b (A w) + s^2 b (A A^T) b
        """
        weight, rank = self.base_weight(self._norm_dtype()), self.lora_b.shape[1]
        squares, at = [], 0
        for number, rows in enumerate(self.rows):
            w = weight[rows.start : rows.stop]
            square = torch.linalg.vector_norm(w, dim=1, dtype=torch.float32).square()
            if not base_only:
                a, b = self.lora_a[number * rank : (number + 1) * rank], self.lora_b[at : at + len(rows)]
                cross = (w @ a.to(w.dtype).T).float()
                square = (
                    square
                    + 2 * self.scale * (b * cross).sum(1)
                    + self.scale**2 * ((b @ (a @ a.T)) * b).sum(1)
                )
            squares.append(square)
            at += len(rows)
        return torch.cat(squares).clamp_min(1e-12).sqrt()

    def _norm_dtype(self) -> torch.dtype:
        weight = getattr(self.base, "weight", None)
        return torch.float32 if weight is None else weight.dtype

    # --- as one matrix ---------------------------------------------------------------------------------------------

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        """(out, in): what base and adapter are together, in `dtype`; the gradient reaches the adapter."""
        b = blocks_of(self.lora_b, self.rows, self.out_features)
        weight = self.base_weight(torch.float32) + self.scale * (b @ self.lora_a)
        if self.magnitude is not None:
            weight = weight * self.stretch()[:, None]
        return weight.to(dtype)

    def extra_repr(self) -> str:
        return f"rank {self.lora_b.shape[1]}, scale {self.scale:g}, rows {[(r.start, r.stop) for r in self.rows]}"


def _version(weight: Tensor) -> int:
    return 0 if weight.is_inference() else weight._version


def blocks_of(b: Tensor, rows: Sequence[range], out_features: int) -> Tensor:
    """B of each piece, one below the other (sum of rows, rank) -> (out, P rank), block by block."""
    rank = b.shape[1]
    if len(rows) == 1 and len(b) == out_features:
        return b
    wide = b.new_zeros(out_features, len(rows) * rank)
    at = 0
    for number, piece in enumerate(rows):
        wide[piece.start : piece.stop, number * rank : (number + 1) * rank] = b[at : at + len(piece)]
        at += len(piece)
    return wide


class _Product(torch.autograd.Function):
    """rows W^T + s low A^T B^T, with low = rows unless they were dropped out.

    Backward: with u = s dy B, dlow = u A, dA = u^T low, dB = s dy^T (low A^T); W is asked for again, since a base of
    int8 has no other copy of it.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, low: Tensor | None, _a: Tensor, _b: Tensor, layer: LoraLinear
    ) -> Tensor:
        read = rows if low is None else low
        wide_a, wide_b = layer.laid_out(rows.dtype, keep=False)
        middle = read @ wide_a.T  # (N, P rank)
        ctx.save_for_backward(read, middle, wide_a, wide_b)
        ctx.layer, ctx.apart = layer, low is not None
        y = F.linear(rows, layer.base_weight(rows.dtype))
        return y.addmm_(middle, wide_b.T, alpha=layer.scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, Tensor, None]:
        read, middle, wide_a, wide_b = ctx.saved_tensors
        layer: LoraLinear = ctx.layer
        u = (dy @ wide_b).mul_(layer.scale)  # (N, P rank)
        da = (u.T @ read).to(layer.lora_a.dtype)
        db = _taken_out((middle.T @ dy).T, layer).to(layer.lora_b.dtype).mul_(layer.scale)
        drows = dy @ layer.base_weight(dy.dtype) if ctx.needs_input_grad[0] else None
        dlow = None
        if ctx.apart and ctx.needs_input_grad[1]:
            dlow = u @ wide_a
        elif not ctx.apart and drows is not None:
            drows.addmm_(u, wide_a)
        return drows, dlow, da, db, None


def _taken_out(wide: Tensor, layer: LoraLinear) -> Tensor:
    """The blocks of (out, P rank) one below the other, (sum of rows, rank): the inverse of `blocks_of`."""
    rank = layer.lora_b.shape[1]
    return torch.cat([wide[r.start : r.stop, i * rank : (i + 1) * rank] for i, r in enumerate(layer.rows)])


# --- putting on, taking off -------------------------------------------------------------------------------------------


def adapt(base: Transformer, config: LoraConfig, layout: Layout, *, seed: int = 0) -> Transformer:
    """`base` with a new adapter, drawn from `seed`: a Transformer that shares every module of it that is not adapted.

    `base` is frozen, and stays the model without the adapter. Raises ConfigError for targets that it does not have.
    """
    base.requires_grad_(False)
    wanted = _wanted(config, layout)
    first = max(0, base.config.layers - config.last_blocks) if config.last_blocks else 0
    view: Transformer = shared_copy(base)
    generator = torch.Generator().manual_seed(seed)
    for name, pieces in layout.items():
        block = int(name.split(".")[1]) if name.startswith("blocks.") else base.config.layers
        rows = _rows_of(pieces, wanted)
        if not rows or block < first:
            continue
        path, _, last = name.rpartition(".")
        parent = view.get_submodule(path) if path else view
        layer = LoraLinear(getattr(parent, last), rows, config)
        bound = 1 / math.sqrt(layer.in_features)  # as a linear layer of torch, and as peft
        with torch.no_grad():
            layer.lora_a.copy_(torch.empty(layer.lora_a.shape).uniform_(-bound, bound, generator=generator))
        setattr(parent, last, layer)
    view.adapter = Adapter(config, base)
    return view


def _wanted(config: LoraConfig, layout: Layout) -> set[str]:
    """The names of pieces that get an adapter."""
    known = {piece.name: name for name, pieces in layout.items() for piece in pieces}
    wanted = (
        {name for name, where in known.items() if where.startswith("blocks.")}
        if ALL in config.targets
        else set()
    )
    for target in config.targets:
        if target != ALL and target not in known:
            raise ConfigError(
                f'lora.targets names "{target}", and the linear layers of this model are {", ".join(known)}; '
                f"name some of them, or all.{did_you_mean(target, known)}"
            )
        wanted |= {target} - {ALL}
    if not wanted:
        raise ConfigError("lora.targets is empty, so nothing would learn; name linear layers, or all.")
    return wanted


def _rows_of(pieces: Sequence[Piece], wanted: set[str]) -> list[range]:
    found, at = [], 0
    for piece in pieces:
        if piece.name in wanted:
            found.append(range(at, at + piece.rows))
        at += piece.rows
    return found


def shared_copy(module: Any) -> Any:
    """A copy of the modules that hold others; leaves, and with them all tensors, are shared."""
    copied = copy.copy(module)
    copied._parameters, copied._buffers = dict(module._parameters), dict(module._buffers)
    copied._modules = {
        name: shared_copy(child) if child is not None and len(child._modules) else child
        for name, child in module._modules.items()
    }
    return copied


def is_adapted(model: nn.Module) -> bool:
    """Whether there is an adapter anywhere inside."""
    return any(isinstance(module, LoraLinear) for module in model.modules())


def adapters_of(model: nn.Module) -> dict[str, LoraLinear]:
    """The adapted layers by their names in the Transformer."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


@torch.no_grad()
def merged(view: Transformer) -> Transformer:
    """A plain Transformer with the adapter worked into its weights, in the base's dtype; it shares all other tensors.

    Give the base in fp32 where the sum must not be rounded: in bf16 a small change of a weight may vanish. A tied
    unembedding that has an adapter is untied.
    """
    plain: Transformer = shared_copy(view)
    dtype = view.embedding.weight.dtype
    for name, layer in adapters_of(view).items():
        path, _, last = name.rpartition(".")
        whole = Linear(layer.in_features, layer.out_features, bias=False, device="meta")
        whole.weight = nn.Parameter(layer.weight_as(dtype), requires_grad=False)
        whole.register_parameter("bias", getattr(layer.base, "bias", None))
        setattr(plain.get_submodule(path) if path else plain, last, whole)
        if name == "unembedding" and view.config.tied:
            plain.config = view.config.model_copy(update={"tied": False})
    plain.adapter = None
    return accelerate(plain)
