"""The one decoder-only Transformer.

It differs from the textbook only where ModelConfig says so. q, k and v are rows of one matrix, gate and up of another
(`muon_matrices` names the parts). Parameters are fp32 masters; matrices and the residual stream are computed in
`compute_dtype`; logits leave as fp32. Left out: dropout (small models here see each token about once) and attention
masks for padding (batches are padded on the right, so a causal model never sees the padding).

All of it is plain torch. `model.cpu.accelerate` replaces modules of a model by faster ones that compute the same.

Legend: B batch, T time, H query heads, K key/value heads, D head width, C model width, F MLP width, V vocabulary.
Sources: GPT-2 (Radford et al., 2019), LLaMA (arXiv:2302.13971), Qwen3 (arXiv:2505.09388), RoFormer (arXiv:2104.09864).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from ziggurat.model.config import Activation, ModelConfig
from ziggurat.model.experts import Mixture
from ziggurat.model.layers import (
    ACTIVATIONS,
    Embedding,
    Linear,
    RMSNorm,
    causal_attention,
    causal_bias,
    make_norm,
    rotary_table,
    rotate,
    sinusoid_table,
    token_nll,
)

if TYPE_CHECKING:
    from ziggurat.model.lora import Adapter
    from ziggurat.model.prefix import Prefix


class Cache(Protocol):
    """Remembers keys and values of earlier tokens; the engine owns the real ones."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k, v (B, K, T, D) behind what `layer` holds; return causal attention of q (B, H, T, D) over it all."""
        ...


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.layer = config, layer
        H, K, D = config.heads, config.kv_heads, config.d_head
        self.qkv = Linear(config.d_model, (H + 2 * K) * D, bias=config.qkv_bias)  # rows: q, then k, then v
        self.out = Linear(H * D, config.d_model, bias=config.out_bias)
        if config.qk_norm:
            self.q_norm, self.k_norm = RMSNorm(D, config.norm_eps), RMSNorm(D, config.norm_eps)

    def forward(self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None) -> Tensor:
        q, k, v = self.heads(self.qkv(x), rotary)  # (B, H or K, T, D)
        y = self.attend(q, k, v, bias) if cache is None else cache.attend(self.layer, q, k, v)
        mixed: Tensor = self.out(y.transpose(1, 2).flatten(2))  # (B, T, C)
        return mixed

    def heads(self, qkv: Tensor, rotary: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, (H + 2K) D) -> q (B, H, T, D), k and v (B, K, T, D), normalised and rotated where the model does."""
        H, K, D = self.config.heads, self.config.kv_heads, self.config.d_head
        q, k, v = qkv.view(*qkv.shape[:2], H + 2 * K, D).split_with_sizes((H, K, K), dim=2)
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.config.attention_scale is not None:
            q = q * self.config.query_scale
        if rotary is not None:
            q, k = rotate(q, rotary), rotate(k, rotary)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """As `layers.causal_attention`."""
        return causal_attention(q, k, v, bias)


class MLP(nn.Module):
    def __init__(self, config: ModelConfig, d_ff: int) -> None:
        super().__init__()
        rows = 2 * d_ff if config.gated else d_ff
        self.up = Linear(config.d_model, rows, bias=config.mlp_bias)  # rows: gate (if there is one), then up
        self.activation: Activation = config.activation
        self.down = Linear(d_ff, config.d_model, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.down(self.activate(self.up(x)))
        return hidden

    def activate(self, x: Tensor) -> Tensor:
        """(..., 2 F) if gated, else (..., F) -> (..., F)."""
        return ACTIVATIONS[self.activation](x)


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        self.norm1, self.norm2 = make_norm(config, config.d_model), make_norm(config, config.d_model)
        if config.norm_placement == "both":  # of what attention and MLP write
            self.norm1_out, self.norm2_out = (make_norm(config, config.d_model) for _ in range(2))
        self.attention = Attention(config, layer)
        experts = config.experts_of(layer)
        self.mlp: nn.Module
        if experts is None:
            self.mlp = MLP(config, config.d_ff)
        else:
            each = (MLP(config, experts.d_ff) for _ in range(experts.count))
            self.mlp = Mixture(config.d_model, experts, each)

    def forward(self, x: Tensor, rotary: Tensor | None, bias: Tensor | None, cache: Cache | None) -> Tensor:
        placement = self.config.norm_placement
        if self.config.parallel:
            x = x + self.attention(self.norm1(x), rotary, bias, cache) + self.mlp(self.norm2(x))
        elif placement == "pre":
            x = x + self.attention(self.norm1(x), rotary, bias, cache)
            x = x + self.mlp(self.norm2(x))
        elif placement == "both":
            x = x + self.norm1_out(self.attention(self.norm1(x), rotary, bias, cache))
            x = x + self.norm2_out(self.mlp(self.norm2(x)))
        else:
            x = self.norm1(x + self.attention(x, rotary, bias, cache))
            x = self.norm2(x + self.mlp(x))
        return x


@lru_cache(maxsize=16)
def matrix_parts(config: ModelConfig) -> Mapping[str, tuple[int, ...]]:
    """What `Transformer.muon_matrices` returns for a model of this config."""
    c = config
    parts: dict[str, tuple[int, ...]] = {}
    for layer in range(c.layers):
        block, experts = f"blocks.{layer}", c.experts_of(layer)
        parts[f"{block}.attention.qkv.weight"] = (c.heads * c.d_head, *(c.kv_heads * c.d_head,) * 2)
        parts[f"{block}.attention.out.weight"] = (c.d_model,)
        mlps, d_ff = [f"{block}.mlp"], c.d_ff
        if experts is not None:
            mlps, d_ff = [f"{block}.mlp.experts.{number}" for number in range(experts.count)], experts.d_ff
        for mlp in mlps:
            parts[f"{mlp}.up.weight"] = (d_ff, d_ff) if c.gated else (d_ff,)
            parts[f"{mlp}.down.weight"] = (c.d_model,)
    return MappingProxyType(parts)


WRITERS = ("attention.out.weight", ".down.weight")
"""What writes into the residual stream."""


class Transformer(nn.Module):
    compute_dtype: torch.dtype = torch.float32
    token_ids: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """Special token ids of the folder that the model was loaded from, for `hub.save_model`."""
    source: Path | None = None
    """That folder."""
    adapter: Adapter | None = None
    """Of a model with an adapter (`model.lora`, `model.prefix`)."""
    prefix: Prefix | None
    """Virtual tokens before every row (`model.prefix`); real ones have the positions after theirs."""
    table: Tensor  # of positions: rotary_table or sinusoid_table; not a weight, not saved
    window_table: Tensor | None  # of the windowed layers, where they have rotary wavelengths of their own

    def __init__(self, config: ModelConfig, *, seed: int | None = 0) -> None:
        """Weights are drawn from `seed`; None leaves them undrawn, for a loader that fills them all."""
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.d_model)
        if config.positions == "learned":
            self.position = Embedding(config.context, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = make_norm(config, config.d_model) if config.norm_placement != "post" else nn.Identity()
        self.unembedding = Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.unembedding.weight = self.embedding.weight
        self.register_module("prefix", None)
        self.make_tables()
        if seed is not None:
            self.init_weights(seed)

    def make_tables(self) -> None:
        """The tables of positions, on the CPU or where `torch.device` says."""
        config = self.config
        table = {"rotary": rotary_table, "sinusoidal": sinusoid_table}.get(config.positions)
        self.register_buffer("table", table(config) if table else None, persistent=False)
        own = config.positions == "rotary" and bool(config.windowed) and config.window_theta is not None
        windowed = rotary_table(config, windowed=True) if own else None
        self.register_buffer("window_table", windowed, persistent=False)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        cache: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """ids (B, T) -> (B, T, C) after the last norm.

        positions (B, T) default to 0..T-1; with a cache the caller must give them. segments (B, T): tokens attend
        only to tokens of the same number (packed documents kept apart); without them attention is plainly causal.
        """
        x = self.embed(ids, positions)
        x = self.through(x, range(self.config.layers), positions=positions, cache=cache, segments=segments)
        last: Tensor = self.norm(x)
        return last

    def embed(self, ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """ids (B, T) -> what the first block reads, (B, T, C)."""
        if positions is None and self.config.context < ids.shape[1]:
            raise ValueError(f"{ids.shape[1]} tokens do not fit the model's context of {self.config.context}")
        x: Tensor = self.embedding(ids)
        if self.config.embedding_scale != 1.0:
            x = x * torch.tensor(self.config.embedding_scale, dtype=x.dtype)
        return self.placed(x, positions).to(self.compute_dtype)

    def placed(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Embeddings (B, T, C) with those of their positions, where these are added."""
        if self.config.positions == "learned":
            x = x + self.position.weight[self._where(x, positions)]
        elif self.config.positions == "sinusoidal":
            x = x + self.table[self._where(x, positions)]
        return x

    def through(
        self,
        x: Tensor,
        blocks: range,
        *,
        positions: Tensor | None = None,
        cache: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """What the first of these blocks reads, (B, T, C), to what the last of them writes; others as in `hidden`."""
        c = self.config
        if self.prefix is not None and cache is None:
            cache, segments = self.prefix.before(self, x, segments), None
        turn = self._turns(self.table, x, positions) if c.positions == "rotary" else None
        window_turn = turn if self.window_table is None else self._turns(self.window_table, x, positions)
        bias = None if segments is None else causal_bias(segments, self.compute_dtype)
        window_bias = bias if cache is not None or not c.windowed else self._window_bias(x, segments)
        for number in blocks:
            windowed = number in c.windowed
            rotary = None if number in c.unrotated else window_turn if windowed else turn
            x = self.blocks[number](x, rotary, window_bias if windowed else bias, cache)
        return x

    def _where(self, of: Tensor, positions: Tensor | None) -> Tensor | slice:
        """The rows of a table of positions that belong to `of` (B, T, ...)."""
        front = 0 if self.prefix is None else self.prefix.tokens
        return slice(front, front + of.shape[1]) if positions is None else positions + front

    def _turns(self, table: Tensor, x: Tensor, positions: Tensor | None) -> Tensor:
        """The rows of a rotary table that belong to x: (T, 1, 2, D) or (B, T, 1, 2, D)."""
        return table[self._where(x, positions)].to(self.compute_dtype).unsqueeze(-3)

    def _window_bias(self, x: Tensor, segments: Tensor | None) -> Tensor | None:
        """(B or 1, 1, T, T) of the windowed layers; None where plainly causal attention is the same."""
        if segments is None:
            if self.config.window is None or x.shape[1] <= self.config.window:
                return None
            segments = torch.zeros(1, x.shape[1], dtype=torch.int64, device=x.device)
        return causal_bias(segments, self.compute_dtype, self.config.window)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V), fp32."""
        logits: Tensor = self.unembedding(hidden)
        return logits.float()

    def nll_keeps_logits(self, hidden: Tensor) -> bool:  # noqa: ARG002
        """Whether `nll` keeps something of the size of the logits (N, V) for the backward pass."""
        return True

    def nll(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """-log p of each target: hidden (N, C), targets (N) -> (N), fp32."""
        return token_nll(hidden, self.unembedding.weight_as(hidden.dtype), targets)

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        cache: Cache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """ids (B, T) -> logits (B, T, V), fp32."""
        return self.logits(self.hidden(ids, positions=positions, cache=cache, segments=segments))

    def whole(self) -> Transformer:
        """The model to generate with: itself, or a whole copy of one in shards (`training.parallel`)."""
        return self

    def muon_matrices(self) -> dict[str, tuple[int, ...]]:
        """The matrices of the blocks, by parameter name, each with the row counts of its parts.

        `{"blocks.0.attention.qkv.weight": (256, 128, 128)}` says that q, k and v are 256, 128 and 128 rows of it; an
        optimizer that orthogonalises may take each part apart (`weight.split(parts)`) or the whole. A router is none.
        """
        return dict(matrix_parts(self.config))

    @torch.no_grad()
    def init_weights(
        self, seed: int, *, quiet: bool = False, put: Callable[[Tensor, Tensor], object] = Tensor.copy_
    ) -> None:
        """Draw every weight anew; the same seed gives the same model whatever was there before.

        `put`: (parameter, what was drawn), where a parameter is not a plain tensor.

        `quiet`: attention.out and mlp.down are 0, so that every block begins as the identity; pretraining starts so.

        | parameter                               | value                                    |
        |-----------------------------------------|------------------------------------------|
        | embedding, position, untied unembedding | normal, std 0.02                         |
        | attention.qkv, mlp.up, mlp.router       | normal, std 1 / sqrt(columns)            |
        | attention.out, mlp.down                 | normal, std 1 / sqrt(2 layers * columns) |
        | gains of norms                          | 1                                        |
        | biases                                  | 0                                        |

        With a small tied embedding the first loss is ln V: the hidden state has unit mean square, so logits have
        std 0.02 sqrt(C). The writers into the residual stream are damped by its 2 * layers additions (GPT-2, 2.3). An
        expert is drawn as an MLP of its width.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            std = self.init_std(name, parameter)
            if std is None:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            elif quiet and name.endswith(WRITERS):
                parameter.zero_()
            elif not parameter.is_meta:
                put(parameter, torch.empty(parameter.shape).normal_(0.0, std, generator=generator))

    def init_std(self, name: str, parameter: Tensor) -> float | None:
        """The standard deviation that the table of `init_weights` intends; None for gains and biases."""
        if parameter.ndim < 2:
            return None
        if "embedding" in name or name.startswith("position"):
            return 0.02
        columns = parameter.shape[1]
        writes = name.endswith(WRITERS)
        return 1.0 / math.sqrt(columns * (2 * self.config.layers if writes else 1))


def set_compute_dtype(model: nn.Module, dtype: torch.dtype) -> None:
    """Compute every Transformer inside `model` in `dtype`; its parameters stay as they are."""
    for module in model.modules():
        if isinstance(module, Transformer):
            module.compute_dtype = dtype
