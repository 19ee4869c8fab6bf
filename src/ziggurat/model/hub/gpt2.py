"""GPT-2: learned positions, LayerNorm, GELU, biases everywhere; matrices stored transposed (`Conv1D`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.model.config import Activation, ModelConfig
from ziggurat.model.hub.family import Family, Source, expect, number

ACTIVATIONS: dict[str, Activation] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "relu2",
}


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    expect(raw, "scale_attn_weights", (True,), True)
    expect(raw, "scale_attn_by_inverse_layer_idx", (False,), False)
    expect(raw, "add_cross_attention", (False,), False)
    activation = ACTIVATIONS[expect(raw, "activation_function", tuple(ACTIVATIONS), "gelu_new")]
    width, heads = number(raw, "n_embd"), number(raw, "n_head")
    return ModelConfig(
        layers=number(raw, "n_layer"),
        d_model=width,
        heads=heads,
        kv_heads=heads,
        d_head=width // heads,
        d_ff=raw.get("n_inner") or 4 * width,
        vocab_size=number(raw, "vocab_size"),
        context=number(raw, "n_positions"),
        norm="layernorm",
        norm_eps=raw.get("layer_norm_epsilon", 1e-5),
        activation=activation,
        positions="learned",
        qk_norm=False,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        tied=raw.get("tie_word_embeddings", True),
    )


def writes(config: ModelConfig) -> dict[str, Any] | None:
    theirs = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    fits = (
        (config.norm, config.norm_placement, config.positions) == ("layernorm", "pre", "learned")
        and config.activation in theirs
        and config.embedding_scale == 1.0
        and config.attention_scale is None
        and not (config.qk_norm or config.windowed or config.parallel)
        and config.qkv_bias
        and config.out_bias
        and config.mlp_bias  # so it has no experts
        and config.kv_heads == config.heads
        and config.heads * config.d_head == config.d_model
    )
    if not fits:
        return None
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_layer": config.layers,
        "n_embd": config.d_model,
        "n_head": config.heads,
        "n_inner": config.d_ff,
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "layer_norm_epsilon": config.norm_eps,
        "activation_function": theirs[config.activation],
        "tie_word_embeddings": config.tied,
    }


def sources(config: ModelConfig) -> dict[str, Source]:
    table = {
        "embedding.weight": Source(("transformer.wte.weight",)),
        "position.weight": Source(("transformer.wpe.weight",)),
        "norm.weight": Source(("transformer.ln_f.weight",)),
        "norm.bias": Source(("transformer.ln_f.bias",)),
    }
    if not config.tied:
        table["unembedding.weight"] = Source(("lm_head.weight",))
    pairs = {
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attention.qkv": "attn.c_attn",
        "attention.out": "attn.c_proj",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    }
    for layer in range(config.layers):
        for ours, theirs in pairs.items():
            stored = f"transformer.h.{layer}.{theirs}"
            matrix = not ours.startswith("norm")
            table[f"blocks.{layer}.{ours}.weight"] = Source((f"{stored}.weight",), transposed=matrix)
            table[f"blocks.{layer}.{ours}.bias"] = Source((f"{stored}.bias",))
    return table


GPT2 = Family(("gpt2",), "transformer.", reads, writes, sources, buffers=(".attn.bias", ".attn.masked_bias"))
