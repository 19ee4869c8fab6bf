"""Qwen3-MoE: Qwen3 whose MLPs are experts, in every layer or in some.

Published configs: 30B-A3B and 235B-A22B (128 experts, 8 of them a token, `norm_topk_prob` true, every layer sparse). A
layer is dense where `mlp_only_layers` names it, and where its number from 1 is no multiple of `decoder_sparse_step`.
A window, where one is asked for, is in every layer: `max_window_layers` counts in Qwen3 alone.
An expert is stored as matrices of its own, gate, up and down; transformers 5 fuses them when it loads.
Source: arXiv:2505.09388.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ziggurat.model.config import ExpertsConfig, ModelConfig
from ziggurat.model.hub import qwen3
from ziggurat.model.hub.family import Family, Source, Unreadable, number


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    width = number(raw, "hidden_size") // number(raw, "num_attention_heads")
    types = ["sliding_attention"] * number(raw, "num_hidden_layers")  # read where a window is asked for
    dense = qwen3.reads({"head_dim": width, **raw, "layer_types": types})
    count = raw.get("num_experts", raw.get("num_local_experts", 128))
    step = raw.get("decoder_sparse_step", 1)
    if not count:
        return dense
    if step < 1:
        raise Unreadable(f"decoder_sparse_step is {step}, where only 1 and above can be computed")
    plain = set(raw.get("mlp_only_layers") or ())
    layers = tuple(layer for layer in range(dense.layers) if layer in plain or (layer + 1) % step)
    if len(layers) == dense.layers:
        return dense
    experts = ExpertsConfig(
        count=count,
        active=raw.get("num_experts_per_tok", 8),
        d_ff=raw.get("moe_intermediate_size", 768),
        normalized=raw.get("norm_topk_prob", False),
        balance=raw.get("router_aux_loss_coef", 0.001),
        dense_layers=layers,
    )
    return ModelConfig(**dict(dense) | {"experts": experts})


def writes(config: ModelConfig) -> dict[str, Any] | None:
    if config.experts is None or len(config.windowed) not in (0, config.layers):
        return None
    shared = qwen3.writes(config.model_copy(update={"experts": None}))
    if shared is None:
        return None
    return {
        **shared,
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": config.experts.count,
        "num_experts_per_tok": config.experts.active,
        "moe_intermediate_size": config.experts.d_ff,
        "norm_topk_prob": config.experts.normalized,
        "router_aux_loss_coef": config.experts.balance,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(config.experts.dense_layers),
    }


def sources(config: ModelConfig) -> dict[str, Source]:
    table = qwen3.sources(config)
    for layer in range(config.layers):
        experts = config.experts_of(layer)
        if experts is None:
            continue
        ours, theirs = f"blocks.{layer}.mlp", f"model.layers.{layer}.mlp"
        for name in ("up", "down"):
            del table[f"{ours}.{name}.weight"]
        table[f"{ours}.router.weight"] = Source((f"{theirs}.gate.weight",))
        for one in range(experts.count):
            stored = f"{theirs}.experts.{one}"
            up = (f"{stored}.gate_proj.weight", f"{stored}.up_proj.weight")
            table[f"{ours}.experts.{one}.up.weight"] = Source(up)
            table[f"{ours}.experts.{one}.down.weight"] = Source((f"{stored}.down_proj.weight",))
    return table


QWEN3_MOE = Family(("qwen3_moe",), "model.", reads, writes, sources)
