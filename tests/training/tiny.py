"""Tiny real things for the training tests: a two-layer Transformer, batches of random rows, a next-token loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer
from ziggurat.runs import Run

TINY = ModelConfig(layers=2, d_model=16, heads=2, kv_heads=1, d_head=8, d_ff=32, vocab_size=32, context=16)


def tiny_model(seed: int = 0) -> Transformer:
    model = Transformer(TINY)
    model.init_weights(seed)
    return model


class RandomRows:
    """Batches (rows, T + 1) drawn by a generator that is a function of the position, so its state is one number."""

    def __init__(self, rows: int = 8, length: int = 13, stop_at: int | None = None) -> None:
        self.rows, self.length, self.stop_at, self.position = rows, length, stop_at, 0

    def next(self) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + self.position)
        self.position += 1
        return torch.randint(0, TINY.vocab_size, (self.rows, self.length), generator=generator)

    def state(self) -> dict[str, Any]:
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def next_token_loss(model: nn.Module, batch: Tensor) -> tuple[Tensor, int]:
    """Sum over targets; token 0 is not a target, so that rows count unequally."""
    logits = model(batch[:, :-1])
    targets = batch[:, 1:].clone()
    targets[targets == 0] = -100
    targets[batch[:, 0] % 2 == 0, 5:] = -100  # about half the rows count much less than the others
    total = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum")
    return total, int((targets != -100).sum())


def new_run(path: Path, *, resume: bool = False) -> Run:
    return Run.create(path, stage="test", config_yaml="seed: 0\n", manifest={}, resume=resume)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_bytes(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
