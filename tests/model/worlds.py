"""Small models of every family, re-initialised so that a mistake cannot hide: logits of standard deviation >= 1, biases
and gains random (a fresh checkpoint has gains of 1 and biases of 0, which forgive dropping them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import GPT2Config, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

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
    "mistral": MistralConfig(**SIZES, sliding_window=None),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, head_dim=16),
    "qwen3-tied": Qwen3Config(**SIZES, head_dim=16, tie_word_embeddings=True, rope_theta=100.0),
    "qwen3-biases": Qwen3Config(**SIZES, head_dim=16, attention_bias=True),
}


@torch.no_grad()
def reinitialise(model: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim == 2:
            looked_up = "embed" in name or "wte" in name or "wpe" in name
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
