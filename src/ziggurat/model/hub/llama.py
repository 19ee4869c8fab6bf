"""LLaMA and its kin with the same tensor names: rotary positions, RMSNorm, gated MLP, grouped queries.

The kin: Mistral (a window in every layer), Qwen2 (biases of q, k and v; perhaps a window in its last layers), SmolLM3
(layers without positions). Qwen3 and Gemma 3 have files of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ziggurat.model.config import Activation, ModelConfig, RotaryScaling
from ziggurat.model.hub.family import Family, Source, Unreadable, expect, number

GATES: dict[str, Activation] = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "gelu_pytorch_tanh": "geglu_tanh",
    "gelu_new": "geglu_tanh",
}
"""Their `hidden_act`; of several names of one activation the first is written."""
PLAIN_ROPE = ("default", "dynamic")
"""Types without scaling within `max_position_embeddings`, which is as far as our context goes."""


def rope_of(raw: Mapping[str, Any], layer_type: str | None = None) -> dict[str, Any]:
    """The rotary parameters, wherever this version of the format keeps them; `layer_type`: those of one type."""
    rope: dict[str, Any] = {}
    for key in ("rope_scaling", "rope_parameters"):
        given = raw.get(key) or {}
        rope |= given.get(layer_type) or {} if layer_type in given else given
    return {key: value for key, value in rope.items() if not isinstance(value, dict)}


def rope_fields(raw: Mapping[str, Any], theta: float = 10_000.0, share: float = 1.0) -> dict[str, Any]:
    """rope_theta, rotary_share and rotary_scaling; raises Unreadable for a scaling that cannot be computed."""
    rope = rope_of(raw)
    kind = rope.get("rope_type", rope.get("type", "default"))
    fields = {
        "rope_theta": float(raw.get("rope_theta") or rope.get("rope_theta", theta)),
        "rotary_share": float(rope.get("partial_rotary_factor") or raw.get("partial_rotary_factor") or share),
    }
    if kind in PLAIN_ROPE:
        return fields
    if kind not in ("linear", "llama3", "yarn"):
        raise Unreadable(
            f"rotary positions are scaled by {kind!r}, where only linear, llama3 and yarn can be computed"
        )
    names = ("low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "attention_factor", "truncate")
    given = {name: rope[name] for name in names if rope.get(name) is not None}
    length = number(raw, "max_position_embeddings")
    original = int(rope.get("original_max_position_embeddings") or length)
    scaling = RotaryScaling(
        kind=kind, factor=rope.get("factor") or length / original, original_context=original, **given
    )
    if kind == "yarn" and rope.get("mscale") and rope.get("mscale_all_dim"):
        once, all_dims = (_mscale(scaling.factor, rope[name]) for name in ("mscale", "mscale_all_dim"))
        scaling = scaling.model_copy(update={"attention_factor": once / all_dims})
    return fields | {"rotary_scaling": scaling}


def _mscale(factor: float, mscale: float) -> float:
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0


def rope_json(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `rope_fields`."""
    scaling: dict[str, Any] | None = None
    if config.rotary_scaling is not None:
        scaling = config.rotary_scaling.model_dump(exclude_none=True, exclude_defaults=True)
        original = scaling.pop("original_context", None)
        kind = scaling.pop("kind")
        if kind == "llama3":
            scaling |= config.rotary_scaling.model_dump(include={"low_freq_factor", "high_freq_factor"})
        scaling |= {"rope_type": kind, "original_max_position_embeddings": original}
    return {"rope_theta": config.rope_theta, "rope_scaling": scaling}


def window_fields(raw: Mapping[str, Any], windowed: Callable[[int], bool]) -> dict[str, Any]:
    """window and windowed: by `layer_types` where the config has them, else by `windowed`, a rule of the family."""
    window, layers = raw.get("sliding_window"), number(raw, "num_hidden_layers")
    types = raw.get("layer_types") or [
        "sliding_attention" if windowed(layer) else "full_attention" for layer in range(layers)
    ]
    if strange := [kind for kind in types if kind not in ("sliding_attention", "full_attention")]:
        raise Unreadable(f"a layer has the type {strange[0]!r}, which cannot be computed")
    at = tuple(layer for layer, kind in enumerate(types[:layers]) if kind == "sliding_attention")
    return {"window": int(window), "windowed": at} if window and at else {}


def window_json(config: ModelConfig) -> dict[str, Any]:
    """The inverse of `window_fields`, for a family that reads layer_types."""
    kinds = [
        "sliding_attention" if layer in config.windowed else "full_attention"
        for layer in range(config.layers)
    ]
    used = bool(config.windowed)
    window = config.window if used else None
    return {"use_sliding_window": used, "sliding_window": window, "layer_types": kinds}


def shared_fields(
    raw: Mapping[str, Any],
    *,
    tied: bool,
    windowed: Callable[[int], bool] | None = None,
    theta: float = 10_000.0,
) -> dict[str, Any]:
    """The fields that every member of the kin names alike.

    windowed: which layers have a window where the config has no layer_types; by default all, where one is given.
    """
    activation = GATES[expect(raw, "hidden_act", tuple(GATES), "silu")]
    heads, width = number(raw, "num_attention_heads"), number(raw, "hidden_size")
    return {
        "layers": number(raw, "num_hidden_layers"),
        "d_model": width,
        "heads": heads,
        "kv_heads": raw.get("num_key_value_heads") or heads,
        "d_head": raw.get("head_dim") or width // heads,
        "d_ff": number(raw, "intermediate_size"),
        "vocab_size": number(raw, "vocab_size"),
        "context": int(number(raw, "max_position_embeddings")),
        "activation": activation,
        "norm_eps": raw.get("rms_norm_eps", 1e-6),
        "tied": raw.get("tie_word_embeddings", tied),
        **rope_fields(raw, theta),
        **window_fields(raw, windowed or (lambda _: True)),
    }


def last_layers(raw: Mapping[str, Any]) -> Callable[[int], bool]:
    """Qwen's rule: a window in the layers from `max_window_layers` on, and only if it is asked for."""
    first = raw.get("max_window_layers", 28) if raw.get("use_sliding_window", False) else math.inf
    return lambda layer: layer >= first


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    kind = raw["model_type"]
    if kind == "qwen2":
        return ModelConfig(
            **shared_fields(_asked_for(raw), tied=False, windowed=last_layers(raw)),
            qk_norm=False,
            qkv_bias=True,
        )
    if kind == "smollm3":
        return _smollm3(raw)
    biased, windowed = kind == "llama" and raw.get("attention_bias", False), kind == "mistral"
    window = raw.get("sliding_window", 4096) if windowed else None
    return ModelConfig(
        **shared_fields({**raw, "sliding_window": window, "layer_types": None}, tied=False),
        qk_norm=False,
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=kind == "llama" and raw.get("mlp_bias", False),
    )


def _smollm3(raw: Mapping[str, Any]) -> ModelConfig:
    layers, every = number(raw, "num_hidden_layers"), raw.get("no_rope_layer_interval", 4)
    turned = raw.get("no_rope_layers") or [(layer + 1) % every for layer in range(layers)]  # 0: it is not
    unrotated = tuple(layer for layer in range(layers) if not turned[layer])
    biased = raw.get("attention_bias", False)
    fields = shared_fields(
        _asked_for(raw), tied=True, windowed=lambda layer: layer in unrotated, theta=2_000_000.0
    )
    return ModelConfig(
        **fields,
        unrotated=unrotated,
        qk_norm=False,
        qkv_bias=biased,
        out_bias=biased,
        mlp_bias=raw.get("mlp_bias", False),
    )


def _asked_for(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The window counts only if `use_sliding_window` says so."""
    return {
        **raw,
        "sliding_window": raw.get("sliding_window", 4096) if raw.get("use_sliding_window") else None,
    }


def shared_json(config: ModelConfig) -> dict[str, Any] | None:
    """The inverse of `shared_fields`, windows apart; None if the kin cannot express the config."""
    choices = (config.norm, config.norm_placement, config.positions, config.parallel)
    scaled = config.attention_scale is not None or config.embedding_scale != 1.0 or config.rotary_share != 1.0
    if choices != ("rmsnorm", "pre", "rotary", False) or not config.gated or scaled or config.window_theta:
        return None
    if config.experts is not None:
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
        **rope_json(config),
        "hidden_act": next(name for name, ours in GATES.items() if ours == config.activation),
        "tie_word_embeddings": config.tied,
    }


def writes(config: ModelConfig) -> dict[str, Any] | None:
    shared = shared_json(config)
    if shared is None or config.qk_norm:
        return None
    biases = (config.qkv_bias, config.out_bias, config.mlp_bias)
    square = config.heads * config.d_head == config.d_model
    everywhere = len(config.windowed) == config.layers
    if config.unrotated:
        if config.qkv_bias != config.out_bias or not square:  # it has no head_dim
            return None
        turned = [int(layer not in config.unrotated) for layer in range(config.layers)]
        rest = {"no_rope_layers": turned, **window_json(config)}
        named = ("smollm3", "SmolLM3", rest | {"attention_bias": biases[0], "mlp_bias": biases[2]})
    elif biases == (True, False, False) and square:
        first = min(config.windowed, default=config.layers)
        named = ("qwen2", "Qwen2", {**window_json(config), "max_window_layers": first})
    elif config.windowed and everywhere and not any(biases):
        named = ("mistral", "Mistral", {"sliding_window": config.window})
    elif not config.windowed and config.qkv_bias == config.out_bias:
        named = ("llama", "Llama", {"attention_bias": biases[0], "mlp_bias": biases[2]})
    else:
        return None
    kind, name, rest = named
    return {"model_type": kind, "architectures": [f"{name}ForCausalLM"], **rest, **shared}


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
    ("llama", "mistral", "qwen2", "smollm3"),
    "model.",
    reads,
    writes,
    sources,
    buffers=(".rotary_emb.inv_freq",),
)
