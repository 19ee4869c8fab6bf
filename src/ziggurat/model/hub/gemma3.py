"""Gemma 3 (text): norms before and after, gains stored less 1, two rotary bases, windows in five of six layers.

`gemma3_text` is a folder of the text model alone; of a folder with a vision tower (`gemma3`) the text model is read.
Source: arXiv:2503.19786. Left out: soft caps of logits and attention to both sides, which no published Gemma 3 has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import llama
from ziggurat.model.hub.family import Family, Source, expect, number

NORMS = {
    "norm1": "input_layernorm",
    "norm1_out": "post_attention_layernorm",
    "norm2": "pre_feedforward_layernorm",
    "norm2_out": "post_feedforward_layernorm",
}


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    for name in ("final_logit_softcapping", "attn_logit_softcapping"):
        expect(raw, name, (None,), None)
    expect(raw, "use_bidirectional_attention", (None, False), None)
    fields = {
        "hidden_act": raw.get("hidden_activation", "gelu_pytorch_tanh"), "head_dim": 256, "sliding_window": 4096
    }  # fmt: skip
    whole, local = llama.rope_of(raw, "full_attention"), llama.rope_of(raw, "sliding_attention")
    theta = raw.get("rope_theta") or whole.get("rope_theta") or 1_000_000.0
    every = raw.get("sliding_window_pattern", raw.get("_sliding_window_pattern", 6))
    given = {**fields, **raw, "rope_parameters": whole, "rope_scaling": None, "rope_theta": theta}
    shared = llama.shared_fields(given, tied=True, windowed=lambda layer: bool((layer + 1) % every))
    biased = raw.get("attention_bias", False)
    return ModelConfig(
        **shared,
        norm_placement="both",
        window_theta=raw.get("rope_local_base_freq") or local.get("rope_theta") or 10_000.0,
        attention_scale=raw.get("query_pre_attn_scalar", 256) ** -0.5,
        embedding_scale=number(raw, "hidden_size") ** 0.5,
        qk_norm=True,
        qkv_bias=biased,
        out_bias=biased,
    )


def writes(config: ModelConfig) -> dict[str, Any] | None:
    scaled = config.attention_scale is not None and config.embedding_scale == config.d_model**0.5
    plain = {"norm_placement": "pre", "attention_scale": None, "embedding_scale": 1.0, "window_theta": None}
    shared = llama.shared_json(config.model_copy(update=plain))
    biased = config.mlp_bias or config.qkv_bias != config.out_bias
    if shared is None or not scaled or config.norm_placement != "both" or not config.qk_norm or biased:
        return None
    if config.unrotated or config.attention_scale is None:
        return None
    scalar = round(config.attention_scale**-2)
    if abs(config.attention_scale**-2 - scalar) > 1e-6:  # it is a whole number there
        return None
    return {
        **shared,
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_activation": {"geglu_tanh": "gelu_pytorch_tanh"}.get(config.activation, shared["hidden_act"]),
        "rope_local_base_freq": config.window_theta or config.rope_theta,
        "query_pre_attn_scalar": scalar,
        "attention_bias": config.qkv_bias,
        "layer_types": llama.window_json(config)["layer_types"],
        "sliding_window": config.window or config.context,
    }


def sources(config: ModelConfig) -> dict[str, Source]:
    table = {name: source for name, source in llama.sources(config).items() if ".norm" not in name}
    for layer in range(config.layers):
        ours, theirs = f"blocks.{layer}", f"model.layers.{layer}"
        for part in "qk":
            table[f"{ours}.attention.{part}_norm.weight"] = Source(
                (f"{theirs}.self_attn.{part}_norm.weight",)
            )
        for norm, stored in NORMS.items():
            table[f"{ours}.{norm}.weight"] = Source((f"{theirs}.{stored}.weight",))
    return {name: replace(source, offset=1.0) if "norm" in name else source for name, source in table.items()}


GEMMA3 = Family(("gemma3_text",), "model.", reads, writes, sources)
