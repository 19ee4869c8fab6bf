"""Tiny real models: large enough logits that neither argmax nor sampling hangs on the last bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer


def tiny_model(
    *, vocab_size: int = 61, context: int = 48, seed: int = 0, gain: float = 20.0, **sizes: object
) -> Transformer:
    shape: dict[str, object] = {
        "layers": 2,
        "d_model": 32,
        "heads": 4,
        "kv_heads": 2,
        "d_head": 8,
        "d_ff": 48,
        **sizes,
    }
    model = Transformer(ModelConfig(vocab_size=vocab_size, context=context, **shape))
    model.init_weights(seed)
    with torch.no_grad():
        model.norm.weight.mul_(gain)  # logits of standard deviation about 2 with an embedding of 0.02
    return model.eval()


@pytest.fixture
def make_model() -> Callable[..., Transformer]:
    return tiny_model


@pytest.fixture
def model() -> Transformer:
    return tiny_model()
