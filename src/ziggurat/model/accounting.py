"""What a model weighs and costs, from its config alone: every speed figure and budget elsewhere calls these.

Of a layer with experts all are weighed, and those that a token passes are counted in FLOPs.

Left out: biases, norms and rotation in the FLOPs (under 1 % of any model here); that windowed layers look back at fewer
keys.
"""

from __future__ import annotations

import math

import torch

from ziggurat.model.config import ExpertsConfig, ModelConfig


def parameters(config: ModelConfig) -> dict[str, int]:
    """Number of parameters by group; a tied unembedding counts once, under `embedding`.

    A test asserts that the groups add up to what the model really holds.
    """
    c = config
    q_width, kv_width = c.heads * c.d_head, c.kv_heads * c.d_head
    qkv_rows, up_rows = q_width + 2 * kv_width, c.d_ff * (2 if c.gated else 1)
    per_norm = c.d_model * (2 if c.norm == "layernorm" else 1)
    block_norms = 4 if c.norm_placement == "both" else 2
    norms = c.layers * (block_norms * per_norm + (2 * c.d_head if c.qk_norm else 0))
    biases = c.qkv_bias * qkv_rows + c.out_bias * c.d_model + c.mlp_bias * (up_rows + c.d_model)
    return {
        "embedding": c.vocab_size * c.d_model,
        "position": c.context * c.d_model if c.positions == "learned" else 0,
        "attention": c.layers * c.d_model * (qkv_rows + q_width),
        "mlp": _mlp_parameters(c, c.experts.count if c.experts else 0),
        "router": c.sparse_layers * c.d_model * c.experts.count if c.experts else 0,
        "norm": norms + (0 if c.norm_placement == "post" else per_norm),
        "bias": c.layers * biases,
        "unembedding": 0 if c.tied else c.vocab_size * c.d_model,
    }


def _mlp_parameters(config: ModelConfig, experts: int) -> int:
    """Of the matrices of all MLPs, with so many experts in each layer that has some."""
    per_unit = config.d_model * (3 if config.gated else 2)
    dense = (config.layers - config.sparse_layers) * config.d_ff
    sparse = 0 if config.experts is None else config.sparse_layers * experts * config.experts.d_ff
    return per_unit * (dense + sparse)


def total_parameters(config: ModelConfig) -> int:
    return sum(parameters(config).values())


def active_parameters(config: ModelConfig) -> int:
    """Parameters that take part in one token: all but the experts that it does not pass."""
    return total_parameters(config) - _passed_over(config)


def _passed_over(config: ModelConfig) -> int:
    """Parameters of the experts that a token does not pass."""
    e: ExpertsConfig | None = config.experts
    return 0 if e is None else _mlp_parameters(config, e.count) - _mlp_parameters(config, e.active)


def matrix_parameters(config: ModelConfig) -> int:
    """Of all matrices of the blocks and the unembedding; not the embedding's look-up."""
    groups = parameters(config)
    return groups["attention"] + groups["mlp"] + groups["router"] + config.vocab_size * config.d_model


def active_matrix_parameters(config: ModelConfig) -> int:
    """Those of them that one token is multiplied by."""
    return matrix_parameters(config) - _passed_over(config)


def forward_flops_per_token(config: ModelConfig, T: int) -> float:
    """FLOPs (a multiply-add is 2) of one token's forward pass, mean over a causal sequence of T tokens.

    Token t (from 1) attends to t keys: 2 d_head for the score and 2 d_head for the value, per head and layer.
    """
    return forward_flops(config, T) / T


def forward_flops(config: ModelConfig, tokens: int, start: int = 0, key_weight: float = 1.0) -> float:
    """FLOPs of a forward pass over `tokens` tokens that follow `start` others, whose keys are there already.

    `key_weight`: how much a FLOP of attention counts, where time is estimated.
    """
    mean_keys = start + (tokens + 1) / 2
    return tokens * (2 * active_matrix_parameters(config) + key_weight * _flops_per_key(config) * mean_keys)


def tokens_within(flops: float, config: ModelConfig, start: int, key_weight: float = 1.0) -> int:
    """How many tokens `forward_flops` has room for, after `start` others: the root of a quadratic in their number."""
    per_key = key_weight * _flops_per_key(config)
    linear = 2 * active_matrix_parameters(config) + per_key * (start + 0.5)
    return int((math.sqrt(linear * linear + 2 * per_key * flops) - linear) / per_key)


def _flops_per_key(config: ModelConfig) -> int:
    return 4 * config.layers * config.heads * config.d_head


def flops_per_token(config: ModelConfig, T: int) -> float:
    """FLOPs of training on one token: forward, and backward at twice its cost (6 N, PaLM, arXiv:2204.02311, B)."""
    return 3 * forward_flops_per_token(config, T)


def cache_bytes_per_token(config: ModelConfig, dtype: torch.dtype) -> int:
    """Bytes of keys and values that generation keeps for each token."""
    return 2 * config.layers * config.kv_heads * config.d_head * dtype.itemsize


def training_days(
    parameters: float, tokens: float, devices: int, peak_flops: float, utilisation: float
) -> float:
    """6 N D / (devices * what each achieves), in days; LLaMA-65B's 21 days are the test."""
    return 6 * parameters * tokens / (devices * peak_flops * utilisation) / 86_400
