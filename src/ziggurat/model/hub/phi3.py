"""Phi-3, Phi-3.5 and Phi-4: LLaMA's computation, with q, k, v stored as one matrix and gate, up as another.

Where only a part of each head turns (Phi-4-mini), their first R dimensions do, i with i + R/2; ours are ordered as in
`neox`. A model whose heads turn whole is saved as LLaMA or Mistral, which compute the same. Left out: rotary scaling by
the length of the text (`longrope`, the 128k variants), which is refused.
Source: arXiv:2404.14219.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import llama
from ziggurat.model.hub.family import Family, Source
from ziggurat.model.hub.neox import turned_dimensions


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig(**llama.shared_fields({**raw, "layer_types": None}, tied=False), qk_norm=False)


def writes(config: ModelConfig) -> dict[str, Any] | None:
    everywhere = len(config.windowed) in (0, config.layers)
    whole = config.model_copy(update={"rotary_share": 1.0})
    shared = llama.shared_json(whole)
    square = (
        config.heads * config.d_head == config.d_model
    )  # transformers' Phi-3 takes no other width of a head
    biased = config.qkv_bias or config.out_bias or config.mlp_bias
    if shared is None or config.qk_norm or biased or config.unrotated or not everywhere or not square:
        return None
    return {
        "model_type": "phi3",
        "architectures": ["Phi3ForCausalLM"],
        "sliding_window": config.window if config.windowed else None,
        "partial_rotary_factor": config.rotary_share,
        **{key: value for key, value in shared.items() if key != "head_dim"},
    }


def rows_of_qkv(config: ModelConfig) -> Tensor | None:
    """((H + 2K) D,): our row of each of their rows; None where whole heads turn and the orders are the same."""
    if config.rotary_width == config.d_head:
        return None
    turned, plain = turned_dimensions(config), torch.arange(config.d_head)
    each = [turned] * (config.heads + config.kv_heads) + [plain] * config.kv_heads
    return torch.cat([head * config.d_head + order for head, order in enumerate(each)])


def sources(config: ModelConfig) -> dict[str, Source]:
    table = llama.sources(config)
    rows = rows_of_qkv(config)
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        table[f"{ours}.attention.qkv.weight"] = Source((f"{theirs}.self_attn.qkv_proj.weight",), rows=rows)
        table[f"{ours}.mlp.up.weight"] = Source((f"{theirs}.mlp.gate_up_proj.weight",))
    return table


PHI3 = Family(("phi3",), "model.", reads, writes, sources, buffers=(".rotary_emb.inv_freq",))
