"""Our own names, for configs that no family expresses (squared ReLU, post-norm ...): only Ziggurat reads these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ziggurat.model.config import ModelConfig
from ziggurat.model.hub.family import Family, Source, number
from ziggurat.model.transformer import Transformer


def reads(raw: Mapping[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate(number(raw, "model"))


def writes(config: ModelConfig) -> dict[str, Any]:
    return {
        "architectures": ["ZigguratForCausalLM"],
        "model_type": "ziggurat",
        "vocab_size": config.vocab_size,
        "model": config.model_dump(),
    }


def sources(config: ModelConfig) -> dict[str, Source]:
    with torch.device("meta"):
        names = [name for name, _ in Transformer(config, seed=None).named_parameters()]
    return {name: Source((f"model.{name}",)) for name in names}


NATIVE = Family(("ziggurat",), "model.", reads, writes, sources)
