"""Faster modules for a CPU, put into a model from outside: each computes what the plain module of the same name does.

`accelerate` gives the modules of a model the classes of this file; parameters, their names and their memory stay. Each
fast module chooses by the input: compiled loops where they exist for its device, dtype and gradient mode (`kernels`),
else the plain forward of `layers` and `transformer`. So an accelerated model may move to another device.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C model width, V vocabulary.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import ModelConfig
from ziggurat.model.cpu import kernels
from ziggurat.model.cpu.packing import PACKS, pack, packed_linear
from ziggurat.model.layers import Linear, RMSNorm
from ziggurat.model.transformer import MLP, Attention, Block, Cache, Transformer

M = TypeVar("M", bound=nn.Module)

Slots = tuple[Tensor, Tensor, npt.NDArray[np.int64]]
"""Keys and values (slots, K, capacity, D), and how many tokens the slots 0..B-1 hold (B,)."""


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


class FastBlock(Block):
    def forward(self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None) -> Tensor:
        if x.shape[0] == x.shape[1] == 1 and rotary is not None:
            y = self._one_row(x, rotary, cache)
            if y is not None:
                return y
        return super().forward(x, rotary, bias, cache)

    def _one_row(self, x: Tensor, rotary: Tensor, cache: Cache | None) -> Tensor | None:
        """The block for the new token of one sequence in one call; None where no loop computes such a block."""
        attention = self.attention
        parts = (attention.qkv, attention.out, self.mlp.up, self.mlp.down)
        slots, loops = _slots(cache, attention.layer), kernels.decoding_loops(x)
        if slots is None or loops is None or not isinstance(attention, FastAttention):
            return None
        if not (_llama_like(self.config) and all(type(part) is FastLinear for part in parts)):
            return None
        qkv, out, up, down = (part.weight_as(x.dtype) for part in parts)
        norm1, norm2 = self.norm1.weight.to(x.dtype), self.norm2.weight.to(x.dtype)
        gains, eps, turn = attention.gains(), self.config.norm_eps, rotary.view(1, 2, -1)
        y: Tensor = loops.block_row(x, norm1, qkv, gains, eps, turn, *slots, out, norm2, up, down)
        return y


def _slots(cache: Cache | None, layer: int) -> Slots | None:
    """Where the new token of each sequence goes: a cache may have `slots_of_layer(layer) -> Slots | None`, with which
    the compiled loops store and attend by themselves."""
    find = getattr(cache, "slots_of_layer", None)
    found: Slots | None = None if find is None else find(layer)
    return found


def _llama_like(config: ModelConfig) -> bool:
    """Whether a block is what `compiled_decoding.block_row` computes."""
    chosen = (config.norm, config.norm_placement, config.activation, config.positions)
    biases = config.qkv_bias or config.out_bias or config.mlp_bias
    others = biases or config.parallel or (config.attention_scale is not None and not config.qk_norm)
    return chosen == ("rmsnorm", "pre", "swiglu", "rotary") and not others


class FastTransformer(Transformer):
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
    Block: FastBlock,
    Transformer: FastTransformer,
}
