"""Compiled blocks compute what plain ones do, all blocks from one graph; no graph breaks on a device without loops."""

from __future__ import annotations

import pytest
import torch
from tests.training.tiny import TINY, tiny_model
from torch._dynamo.testing import CompileCounterWithBackend

from ziggurat.model import compiled
from ziggurat.model.cpu import accelerate
from ziggurat.model.transformer import Transformer

IDS = torch.arange(24).view(2, 12) % TINY.vocab_size


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> CompileCounterWithBackend:
    torch._dynamo.reset()
    found = CompileCounterWithBackend("eager")
    monkeypatch.setattr(compiled, "BACKEND", found)
    monkeypatch.setattr(compiled, "_kinds", {})
    return found


@pytest.mark.filterwarnings("ignore")
def test_loss_and_gradients_are_those_of_plain_blocks(counter: CompileCounterWithBackend) -> None:
    plain, fused = tiny_model(), tiny_model()
    compiled.compile_blocks(fused)
    for model in (plain, fused):
        model.nll(model.hidden(IDS).flatten(0, 1), IDS.flatten()).sum().backward()
    assert counter.frame_count == 1  # two blocks
    for (name, a), (_, b) in zip(plain.named_parameters(), fused.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    with torch.no_grad():
        assert torch.equal(plain(IDS), fused(IDS))
    assert counter.frame_count == 1


@pytest.mark.filterwarnings("ignore")
def test_an_accelerated_block_off_the_cpu_is_one_graph(counter: CompileCounterWithBackend) -> None:
    with torch.device("meta"):
        model = accelerate(Transformer(TINY, seed=None))
    compiled.compile_blocks(model)
    torch._dynamo.config.error_on_recompile = False
    model.hidden(IDS.to("meta")).sum().backward()
    assert counter.frame_count == 1
    assert not torch._dynamo.utils.counters["graph_break"]
