"""Qwen3, the family of our own presets: LLaMA's tensors, and RMS-normalised q and k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import llama
from ziggurat.model.hub.family import Family, Source


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    biased, asked = raw.get("attention_bias", False), raw.get("use_sliding_window", False)
    window = raw.get("sliding_window", 4096) if asked else None
    fields = llama.shared_fields(
        {"head_dim": 128, **raw, "sliding_window": window}, tied=False, windowed=llama.last_layers(raw)
    )
    return ModelConfig(**fields, qk_norm=True, qkv_bias=biased, out_bias=biased)


def writes(config: ModelConfig) -> dict[str, Any] | None:
    shared = llama.shared_json(config)
    if shared is None or not config.qk_norm or config.mlp_bias or config.qkv_bias != config.out_bias:
        return None
    if config.unrotated:
        return None
    windows = llama.window_json(config) if config.windowed else {"use_sliding_window": False}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": config.qkv_bias,
        **windows,
        **shared,
    }


def sources(config: ModelConfig) -> dict[str, Source]:
    table = llama.sources(config)
    for layer in range(config.layers):
        for part in "qk":
            stored = Source((f"model.layers.{layer}.self_attn.{part}_norm.weight",))
            table[f"blocks.{layer}.attention.{part}_norm.weight"] = stored
    return table


QWEN3 = Family(("qwen3",), "model.", reads, writes, sources)
