"""Faster modules for a CPU, put into a model from outside: each computes what the plain module of the same name does.

`accelerate` gives the modules of a model the classes of this file; parameters, their names and their memory stay. Each
fast module chooses by the input: compiled loops where they exist for its device, dtype and gradient mode (`kernels`),
else the plain forward of `layers` and `transformer`. So an accelerated model may move to another device.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C model width, V vocabulary.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.cpu import blocks, kernels
from ziggurat.model.cpu.packing import PACKS, pack, packed_linear
from ziggurat.model.layers import Linear, RMSNorm
from ziggurat.model.transformer import MLP, Attention, Cache, Transformer

M = TypeVar("M", bound=nn.Module)

Slots = tuple[Tensor, Tensor, npt.NDArray[np.int64]]
"""Keys and values (slots, K, capacity, D), and how many tokens the slots 0..B-1 hold (B,). A cache may have
`slots_of_layer(layer) -> Slots | None`, and `slots_of_layers()`, whose keys and values have the layers before the
slots: with these the compiled loops store and attend by themselves."""


def accelerate(model: M) -> M:
    """Give every plain module inside `model` its fast class, in place; modules that have it already stay as they are.

    Returns `model`. Results differ from those of the plain modules only by rounding.
    """
    for module in model.modules():
        fast = FAST.get(type(module))
        if fast is not None and not getattr(module, "stays_plain", False):
            module.__class__ = fast
    return model


def keep_plain(model: nn.Module) -> None:
    """Take the fast classes away for good: a model in shards gathers its weights into memory whose version does not
    change, so no cast copy may be kept."""
    for module in model.modules():
        for plain, fast in FAST.items():
            if type(module) is fast:
                module.__class__ = plain
        module.stays_plain = True  # type: ignore[assignment]


class FastLinear(Linear):
    """Without gradients it keeps the cast weight until the weight changes.

    An optimizer's in-place update raises the tensor's version; assigning through `.data` does not: never do that to a
    live model. On a CPU there are two bf16 copies, each made when it is first needed: for several rows a packed one
    (`packing`), for a single row a plain one.
    """

    _plain: Kept | None = None
    _packed: Kept | None = None

    def weight_as(self, dtype: torch.dtype) -> Tensor:
        if self.weight.dtype == dtype:
            return self.weight
        if torch.is_grad_enabled():
            if self._plain is not None or self._packed is not None:
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
        if len(rows) == 1 and (loops := kernels.decoding_loops(x)):
            y: Tensor = loops.linear_row(rows, self.weight_as(x.dtype), bias)
        elif PACKS and x.is_cpu and x.dtype == torch.bfloat16 and not torch.is_grad_enabled():
            y = packed_linear(rows, self._packed_as(x.dtype), bias)
        else:
            y = F.linear(rows, self.weight_as(x.dtype), bias)
        return y.view(*x.shape[:-1], self.out_features)


Kept = tuple[tuple[Tensor, int], Tensor]
"""A weight and its version, and a copy of it."""


def _version(weight: Tensor) -> tuple[Tensor, int]:
    return weight, 0 if weight.is_inference() else weight._version


def _fresh(kept: Kept | None, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether a copy was made of this very state of the weight."""
    if kept is None or kept[1].dtype != dtype:
        return False
    (master, version), now = kept[0], _version(weight)
    return master is now[0] and version == now[1]


class FastRMSNorm(RMSNorm):
    def forward(self, x: Tensor) -> Tensor:
        return kernels.rms_norm(x, self.weight, self.eps)


class FastMLP(MLP):
    def activate(self, x: Tensor) -> Tensor:
        return kernels.swiglu(x) if self.activation == "swiglu" else super().activate(x)


class FastAttention(Attention):
    def forward(self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None) -> Tensor:
        slots, loops = _slots(cache, self.layer), kernels.decoding_loops(x)
        scaled_alone = self.config.attention_scale is not None and not self.config.qk_norm  # not in the gains
        if slots is None or loops is None or scaled_alone:
            return super().forward(x, rotary, bias, cache)
        qkv, turn = self.qkv(x).view(len(x), -1), None if rotary is None else rotary.view(len(x), 2, -1)
        y = loops.attend_new(qkv, self.gains(), self.config.norm_eps, turn, *slots)
        mixed: Tensor = self.out(y.unsqueeze(1))
        return mixed

    def gains(self) -> Tensor | None:
        """(H + K, D) of the norms of every query and key head, if there are any."""
        if not self.config.qk_norm:
            return None
        q: Tensor = self.q_norm.weight
        k: Tensor = self.k_norm.weight
        if self.config.attention_scale is not None:
            q = q * self.config.query_scale
        return torch.cat((q.expand(self.config.heads, -1), k.expand(self.config.kv_heads, -1)))

    def heads(self, qkv: Tensor, rotary: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if rotary is not None and kernels.loops_for(qkv) and (gains := self.gains()) is not None:
            return kernels.normed_heads(qkv, gains, rotary, self.config.kv_heads, self.config.norm_eps)
        return super().heads(qkv, rotary)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        return kernels.causal_attention(q, k, v, bias)


def _slots(cache: Cache | None, layer: int) -> Slots | None:
    """Where the new token of each sequence goes."""
    find = getattr(cache, "slots_of_layer", None)
    found: Slots | None = None if find is None else find(layer)
    return found


class FastTransformer(Transformer):
    _table: blocks.Table | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._table = None  # to another device or dtype
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def through(
        self,
        x: Tensor,
        blocks: range,
        *,
        positions: Tensor | None = None,
        cache: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        if x.shape[1] == 1 and positions is not None and segments is None:
            y = self._in_one_call(x, blocks, positions, cache)
            if y is not None:
                return y
        elif self._table is not None and (torch.is_grad_enabled() or not self._table.stands(self)):
            self._table = None  # what learns changes soon, and needs the memory
        return super().through(x, blocks, positions=positions, cache=cache, segments=segments)

    def _in_one_call(self, x: Tensor, which: range, positions: Tensor, cache: Cache | None) -> Tensor | None:
        """These blocks for the new token of each sequence, x (B, 1, C); None where no loop computes them."""
        find = getattr(cache, "slots_of_layers", None)
        slots: Slots | None = None if find is None else find()
        if slots is None or not blocks.covered(self.config) or which.step != 1:
            return None
        loops = kernels.block_loops(x)
        if loops is None:
            return None
        if self._table is None or not self._table.fits(self):
            self._table = blocks.Table(self, loops)
        if len(x) > self._table.most_rows:
            return None
        c = self.config
        turn = window_turn = x.new_empty(len(x), 2, 0)
        if c.positions == "rotary":
            turn = self._turns(self.table, x, positions).view(len(x), 2, -1)
            own = self.window_table
            window_turn = turn if own is None else self._turns(own, x, positions).view(len(x), 2, -1)
        layers = self._table.layers[which.start : which.stop]
        heads, rows = (c.heads, c.kv_heads), x.view(len(x), -1)
        y: Tensor = loops.through(
            rows, layers, which.start, c.d_ff, heads, c.norm_eps, turn, window_turn, *slots
        )
        return y.view(x.shape)

    def nll_keeps_logits(self, hidden: Tensor) -> bool:
        learns = any(p.requires_grad for p in self.unembedding.parameters())
        return learns or not kernels.has_nll_loop(hidden)

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """As the plain one; the logits are never held whole."""
        return kernels.token_nll(hidden, self.unembedding.weight_as(hidden.dtype), targets)


FAST: dict[type[nn.Module], type[nn.Module]] = {
    Linear: FastLinear,
    RMSNorm: FastRMSNorm,
    MLP: FastMLP,
    Attention: FastAttention,
    Transformer: FastTransformer,
}
