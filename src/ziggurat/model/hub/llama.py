"""LLaMA and its kin with the same tensor names (Mistral, Qwen2): rotary positions, RMSNorm, SwiGLU, grouped queries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.family import Family, Source, Unreadable, expect, number


def rope_theta(raw: Mapping[str, Any]) -> float:
    """The rotary base, wherever this version of the format keeps it; any scaling of positions is refused."""
    for key in ("rope_parameters", "rope_scaling"):
        rope = raw.get(key) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default":
            raise Unreadable(
                f"{key} has the type {kind!r}, where only plain rotary positions can be computed"
            )
        if rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise Unreadable(f"{key} turns only a part of each head")
    theta = raw.get("rope_theta") or (raw.get("rope_parameters") or {}).get("rope_theta", 10_000.0)
    return float(theta)


def context(raw: Mapping[str, Any]) -> int:
    """Within a sliding window attention is full, so a windowed model is exact up to the window."""
    length = int(number(raw, "max_position_embeddings"))
    window = raw.get("sliding_window") if raw.get("use_sliding_window", True) else None
    return min(length, int(window)) if window else length


def shared_fields(raw: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    """The fields that every member of the kin names alike."""
    expect(raw, "hidden_act", ("silu",), "silu")
    heads, width = number(raw, "num_attention_heads"), number(raw, "hidden_size")
    return {
        "layers": number(raw, "num_hidden_layers"),
        "d_model": width,
        "heads": heads,
        "kv_heads": raw.get("num_key_value_heads") or heads,
        "d_head": raw.get("head_dim") or width // heads,
        "d_ff": number(raw, "intermediate_size"),
        "vocab_size": number(raw, "vocab_size"),
        "context": context(raw),
        "norm_eps": raw.get("rms_norm_eps", 1e-6),
        "rope_theta": rope_theta(raw),
        "tied": raw.get("tie_word_embeddings", tied),
    }


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    kind = raw["model_type"]
    attention_bias = kind == "llama" and raw.get("attention_bias", False)
    return ModelConfig(
        **shared_fields(raw, tied=False),
        qk_norm=False,
        qkv_bias=attention_bias or kind == "qwen2",
        out_bias=attention_bias,
        mlp_bias=kind == "llama" and raw.get("mlp_bias", False),
    )


def shared_json(config: ModelConfig) -> dict[str, Any] | None:
    """The inverse of `shared_fields`; None if the kin cannot express the config."""
    choices = (config.norm, config.norm_placement, config.activation, config.positions)
    if choices != ("rmsnorm", "pre", "swiglu", "rotary"):
        return None
    return {
        "num_hidden_layers": config.layers,
        "hidden_size": config.d_model,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.d_head,
        "intermediate_size": config.d_ff,
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": None,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied,
    }


def writes(config: ModelConfig) -> dict[str, Any] | None:
    shared = shared_json(config)
    if shared is None or config.qk_norm:
        return None
    if config.qkv_bias and not config.out_bias and not config.mlp_bias:
        kind, rest = "qwen2", {"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False}
        if config.heads * config.d_head != config.d_model:  # Qwen2 has no head_dim
            return None
    elif config.qkv_bias == config.out_bias:
        biases = {"attention_bias": config.qkv_bias, "mlp_bias": config.mlp_bias}
        kind, rest = "llama", {"architectures": ["LlamaForCausalLM"], **biases}
    else:
        return None
    return {"model_type": kind, **rest, **shared}


def sources(config: ModelConfig) -> dict[str, Source]:
    table = {
        "embedding.weight": Source(("model.embed_tokens.weight",)),
        "norm.weight": Source(("model.norm.weight",)),
    }
    if not config.tied:
        table["unembedding.weight"] = Source(("lm_head.weight",))
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        qkv = tuple(f"{theirs}.self_attn.{part}_proj" for part in "qkv")
        up = (f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
        linears = {
            "attention.qkv": (qkv, config.qkv_bias),
            "attention.out": ((f"{theirs}.self_attn.o_proj",), config.out_bias),
            "mlp.up": (up, config.mlp_bias),
            "mlp.down": ((f"{theirs}.mlp.down_proj",), config.mlp_bias),
        }
        for name, (parts, biased) in linears.items():
            table[f"{ours}.{name}.weight"] = Source(tuple(f"{part}.weight" for part in parts))
            if biased:
                table[f"{ours}.{name}.bias"] = Source(tuple(f"{part}.bias" for part in parts))
        table[f"{ours}.norm1.weight"] = Source((f"{theirs}.input_layernorm.weight",))
        table[f"{ours}.norm2.weight"] = Source((f"{theirs}.post_attention_layernorm.weight",))
    return table


LLAMA = Family(
    ("llama", "mistral", "qwen2"), "model.", reads, writes, sources, buffers=(".rotary_emb.inv_freq",)
)
