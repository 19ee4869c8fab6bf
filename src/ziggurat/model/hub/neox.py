"""GPT-NeoX and Pythia: attention and MLP side by side, LayerNorm, rotary positions on a part of each head.

q, k and v are stored head by head in one matrix, and of a head's D dimensions the first R turn, i with i + R/2. Ours
are rows of q, then k, then v, and i turns with i + D/2, the pairs that do not turn at frequency 0. So the map is an
order of rows. Example for D = 8, R = 4: stored 0 1 | 2 3 | 4 5 6 7 becomes 0 1 4 5 | 2 3 6 7.
Source: arXiv:2204.06745.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import llama
from ziggurat.model.hub.family import Family, Source, expect, number
from ziggurat.model.hub.gpt2 import ACTIVATIONS

PAIRS = {
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.out": "attention.dense",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
}


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    activation = ACTIVATIONS[expect(raw, "hidden_act", tuple(ACTIVATIONS), "gelu")]
    width, heads = number(raw, "hidden_size"), number(raw, "num_attention_heads")
    biased = raw.get("attention_bias", True)
    theta, share = raw.get("rotary_emb_base", 10_000.0), raw.get("rotary_pct", 0.25)
    return ModelConfig(
        layers=number(raw, "num_hidden_layers"),
        d_model=width,
        heads=heads,
        kv_heads=heads,
        d_head=width // heads,
        d_ff=number(raw, "intermediate_size"),
        vocab_size=number(raw, "vocab_size"),
        context=number(raw, "max_position_embeddings"),
        norm="layernorm",
        norm_eps=raw.get("layer_norm_eps", 1e-5),
        parallel=raw.get("use_parallel_residual", True),
        activation=activation,
        **llama.rope_fields(raw, theta, share),
        qk_norm=False,
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=True,
        tied=raw.get("tie_word_embeddings", False),
    )


def writes(config: ModelConfig) -> dict[str, Any] | None:
    theirs = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    fits = (
        (config.norm, config.norm_placement, config.positions) == ("layernorm", "pre", "rotary")
        and config.activation in theirs
        and config.mlp_bias
        and config.qkv_bias == config.out_bias
        and config.kv_heads == config.heads
        and config.heads * config.d_head == config.d_model
        and config.embedding_scale == 1.0
        and config.attention_scale is None
        and not (config.qk_norm or config.windowed or config.unrotated or config.experts)
    )
    if not fits:
        return None
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "num_hidden_layers": config.layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.heads,
        "intermediate_size": config.d_ff,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "layer_norm_eps": config.norm_eps,
        "use_parallel_residual": config.parallel,
        "hidden_act": theirs[config.activation],
        "rotary_emb_base": config.rope_theta,
        "rotary_pct": config.rotary_share,
        "rope_scaling": llama.rope_json(config)["rope_scaling"],
        "attention_bias": config.qkv_bias,
        "tie_word_embeddings": config.tied,
    }


def turned_dimensions(config: ModelConfig) -> Tensor:
    """(D,): our dimension of each of their dimensions of a head of which the first R turn."""
    D, R = config.d_head, config.rotary_width
    first, second, rest = torch.arange(R // 2), torch.arange(R // 2, R), torch.arange(R, D)
    half = len(rest) // 2
    return torch.cat((first, rest[:half], second, rest[half:])).argsort()


def rows_of_qkv(config: ModelConfig) -> Tensor:
    """(3 H D,): our row of each of their rows."""
    H, D = config.heads, config.d_head
    turned, plain = turned_dimensions(config), torch.arange(D)
    heads = torch.arange(H)[:, None, None] * D + torch.stack(
        (turned, turned, plain)
    )  # (H, 3, D) within q, k or v
    return (heads + torch.arange(3)[:, None] * H * D).flatten()


def sources(config: ModelConfig) -> dict[str, Source]:
    table = {
        "embedding.weight": Source(("gpt_neox.embed_in.weight",)),
        "norm.weight": Source(("gpt_neox.final_layer_norm.weight",)),
        "norm.bias": Source(("gpt_neox.final_layer_norm.bias",)),
    }
    if not config.tied:
        table["unembedding.weight"] = Source(("embed_out.weight",))
    rows = rows_of_qkv(config)
    for layer in range(config.layers):
        for ours, theirs in PAIRS.items():
            stored = f"gpt_neox.layers.{layer}.{theirs}"
            order = rows if ours == "attention.qkv" else None
            table[f"blocks.{layer}.{ours}.weight"] = Source((f"{stored}.weight",), rows=order)
            if config.qkv_bias or not ours.startswith("attention"):
                table[f"blocks.{layer}.{ours}.bias"] = Source((f"{stored}.bias",), rows=order)
    return table


NEOX = Family(
    ("gpt_neox",),
    "gpt_neox.",
    reads,
    writes,
    sources,
    buffers=(".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"),
)
