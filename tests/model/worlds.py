"""Small models of every family, re-initialised so that a mistake cannot hide: logits of standard deviation >= 1, biases
and gains random (a fresh checkpoint has gains of 1 and biases of 0, which forgive dropping them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    SmolLM3Config,
)

VOCABULARY, CONTEXT = 97, 64
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": CONTEXT,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "rope_theta": 1_000.0, "factor": 4.0, "original_max_position_embeddings": 16}
PART = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.75}
SMOLLM3: dict[str, Any] = {**SIZES, "num_hidden_layers": 4, "pad_token_id": 0, "eos_token_id": 1}
GEMMA3: dict[str, Any] = {
    **SIZES,
    "num_hidden_layers": 3,
    "head_dim": 16,
    "query_pre_attn_scalar": 24,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    "pad_token_id": 0,
}
QWEN3_MOE: dict[str, Any] = {
    **SIZES,
    "head_dim": 16,
    "num_hidden_layers": 3,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}
NEOX_SIZES: dict[str, Any] = {name: value for name, value in SIZES.items() if name != "num_key_value_heads"}
GPT2_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": CONTEXT,
}

CONFIGS: dict[str, transformers.PretrainedConfig] = {
    "gpt2": GPT2Config(**GPT2_SIZES),
    "gpt2-untied": GPT2Config(**GPT2_SIZES, n_inner=40, tie_word_embeddings=False),
    "llama": LlamaConfig(**SIZES),
    "llama-biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True, head_dim=16, rms_norm_eps=1e-2),
    "llama2": LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}),
    "llama3": LlamaConfig(**SIZES, rope_parameters=LLAMA3),
    "llama-yarn": LlamaConfig(**SIZES, rope_parameters=YARN),
    "llama-gelu": LlamaConfig(**SIZES, hidden_act="gelu"),
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "mistral-window": MistralConfig(**SIZES, sliding_window=8),
    "smollm3": SmolLM3Config(**SMOLLM3),
    "smollm3-window": SmolLM3Config(**SMOLLM3, use_sliding_window=True, sliding_window=8),
    "gemma3": Gemma3TextConfig(**GEMMA3),
    "gemma3-linear": Gemma3TextConfig(
        **GEMMA3,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 5_000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    ),
    "neox": GPTNeoXConfig(**NEOX_SIZES, rope_parameters={"rope_theta": 1e4, "partial_rotary_factor": 0.5}),
    "neox-serial": GPTNeoXConfig(**NEOX_SIZES, use_parallel_residual=False, tie_word_embeddings=True),
    "phi3": Phi3Config(**SIZES, sliding_window=8, pad_token_id=0),
    "phi3-part": Phi3Config(**{**SIZES, "hidden_size": 64}, pad_token_id=0, rope_parameters=PART),
    "qwen2": Qwen2Config(**SIZES),
    "qwen2-window": Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
    "qwen3-tied": Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True, rope_theta=100.0),
    "qwen3-biases": Qwen3Config(**SIZES, head_dim=16, attention_bias=True),
    "qwen3-moe": Qwen3MoeConfig(**QWEN3_MOE, norm_topk_prob=True),  # as its publisher has it
    "qwen3-moe-plain": Qwen3MoeConfig(**QWEN3_MOE, tie_word_embeddings=True, attention_bias=True),
    "qwen3-moe-mixed": Qwen3MoeConfig(
        **{**QWEN3_MOE, "num_hidden_layers": 4},
        decoder_sparse_step=2,
        mlp_only_layers=[3],
        norm_topk_prob=True,
    ),
    "qwen3-moe-window": Qwen3MoeConfig(**QWEN3_MOE, use_sliding_window=True, sliding_window=8),
}


@torch.no_grad()
def reinitialise(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 3:  # experts, fused
            parameter.copy_(noise * 1.5 * parameter.shape[-1] ** -0.5)
        elif parameter.ndim == 2:
            looked_up = "embed" in name or "wte" in name or "wpe" in name
            looked_up &= "embed_out" not in name
            parameter.copy_(noise * (1.0 if looked_up else 1.5 * parameter.shape[-1] ** -0.5))
        else:
            parameter.copy_(0.5 * noise + (0.0 if name.endswith("bias") else 1.0))


def theirs(name: str, folder: Path) -> tuple[Any, Tensor, Tensor]:
    """A model of `transformers` saved to `folder`, token ids (2, 40) and its logits."""
    model: Any = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]).eval()
    reinitialise(model)
    model.save_pretrained(folder)
    ids = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model, ids, model(ids).logits
