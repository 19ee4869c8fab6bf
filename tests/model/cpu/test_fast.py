"""An accelerated model computes what the plain one computes, with the same parameters and signatures."""

from __future__ import annotations

import copy
import inspect

import pytest
import torch
from tests.model.test_transformer import IDS, VARIANTS, SimpleCache
from torch import Tensor, nn

from ziggurat.model.cpu import accelerate
from ziggurat.model.cpu.fast import FAST
from ziggurat.model.transformer import Transformer, set_compute_dtype

CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.1}
"""Largest difference of two results, as a share of their norm."""


def pair(name: str, dtype: torch.dtype) -> tuple[Transformer, Transformer]:
    plain = Transformer(VARIANTS[name], seed=3)
    set_compute_dtype(plain, dtype)
    return plain, accelerate(copy.deepcopy(plain))


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == expected.dtype
    assert (found - expected).norm() <= CLOSE[dtype] * expected.norm()


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", VARIANTS)
def test_accelerated_training_equals_plain_training(name: str, dtype: torch.dtype) -> None:
    """The loss of every token and the gradient of every parameter."""
    results: list[list[Tensor]] = []
    for model in pair(name, dtype):
        nll = model.nll(model.hidden(IDS[:, :-1]).flatten(0, 1), IDS[:, 1:].flatten())
        nll.mean().backward()
        results.append([nll.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(results[0]) == len(results[1]) == 1 + len(list(model.parameters()))
    for expected, found in zip(*results, strict=True):
        assert_close(found, expected, dtype)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_accelerated_decoding_equals_plain_decoding(name: str, dtype: torch.dtype) -> None:
    """Logits without a cache, and of single tokens behind a cache."""
    results = []
    for model in pair(name, dtype):
        cache, cached = SimpleCache(), []
        for at in range(8):
            positions = torch.full((3, 1), at)
            cached.append(model(IDS[:, at : at + 1], positions=positions, cache=cache))
        results.append((model(IDS), torch.cat(cached, 1)))
    for expected, found in zip(*results, strict=True):
        assert_close(found, expected, dtype)


def test_accelerating_keeps_every_parameter_and_may_be_repeated() -> None:
    model = Transformer(VARIANTS["qwen"])
    before = dict(model.named_parameters())
    assert accelerate(accelerate(model)) is model
    after = dict(model.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert not any(type(module) in FAST for module in model.modules())


def test_modules_of_other_kinds_stay_as_they_are() -> None:
    class Adapted(nn.Linear):
        pass

    model = Transformer(VARIANTS["qwen"])
    model.blocks[0].mlp.down = Adapted(48, 32)
    accelerate(model)
    assert type(model.blocks[0].mlp.down) is Adapted


def test_fast_modules_have_the_signatures_of_the_plain_ones() -> None:
    for plain, fast in FAST.items():
        for name, method in vars(fast).items():
            if inspect.isfunction(method) and name in vars(plain):
                assert inspect.signature(method) == inspect.signature(vars(plain)[name]), f"{fast}.{name}"
