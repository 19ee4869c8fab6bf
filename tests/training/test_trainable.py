"""Which parameters learn: one setting, the same for every model."""

from __future__ import annotations

import pytest
import torch
from tests.training.tiny import TINY, tiny_model
from torch import nn

from ziggurat.errors import ConfigError
from ziggurat.model.confidence import ConfidenceHead
from ziggurat.model.heads import RewardModel
from ziggurat.model.transformer import Transformer
from ziggurat.training.config import OptimizerConfig
from ziggurat.training.optimizers import build_optimizer
from ziggurat.training.trainable import first_trained_block, freeze


def learning(model: nn.Module) -> set[str]:
    """Names of the parameters that learn, without what stands below a block."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    return {".".join(name.split(".")[: 3 if "blocks" in name and "body" in name else 2]) for name in names}


def test_all_is_everything_also_after_less() -> None:
    model = tiny_model()
    freeze(model, "last:1")
    freeze(model, "all")
    assert all(p.requires_grad for p in model.parameters())
    assert first_trained_block(model) == 0


def test_last_k_trains_the_last_blocks_and_the_last_norm() -> None:
    model = tiny_model()
    freeze(model, "last:1")
    assert learning(model) == {"blocks.1", "norm.weight"}
    assert first_trained_block(model) == 1
    freeze(model, "last:2")  # as many as there are
    assert all(p.requires_grad for p in model.parameters())


def test_head_of_a_language_model_is_its_last_norm_and_unembedding() -> None:
    model = Transformer(TINY.model_copy(update={"tied": False}))
    freeze(model, "head")
    assert learning(model) == {"norm.weight", "unembedding.weight"}
    assert first_trained_block(model) == 2
    with pytest.raises(ConfigError, match="its unembedding|its embedding"):
        freeze(tiny_model(), "head")


def test_head_of_a_reward_model_is_what_is_not_its_body() -> None:
    body = tiny_model()
    model = RewardModel(body, confidence=ConfidenceHead(body.config.d_model, answer_after=3))
    freeze(model, "head")
    assert all(p.requires_grad != name.startswith("body.") for name, p in model.named_parameters())
    freeze(model, "last:1")
    learns = {name for name in learning(model) if name.startswith("body.")}
    assert learns == {"body.blocks.1", "body.norm"}
    assert model.head.weight.requires_grad


def test_a_head_learns_at_its_own_rate() -> None:
    model = RewardModel(tiny_model())
    optimizers = build_optimizer(model, OptimizerConfig(optimizer="adamw", lr_adam=1e-5, lr_head=1e-2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizers.set_lr_factor(0.5)
    model(torch.arange(10).view(1, -1)).sum().backward()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    optimizers.step()
    moved = {name: (p - before[name]).abs().max().item() for name, p in model.named_parameters()}
    assert moved["head.weight"] == pytest.approx(0.5e-2, rel=1e-3)
    assert max(value for name, value in moved.items() if name != "head.weight") < 1e-4
    assert "1e-05 and 0.01" in optimizers.describe()
