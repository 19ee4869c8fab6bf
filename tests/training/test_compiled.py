"""Compiled blocks compute what plain ones do, all blocks from one graph; no graph breaks on a device without loops."""

from __future__ import annotations

import pytest
import torch
from tests.training.tiny import TINY, tiny_model
from torch._dynamo.testing import CompileCounterWithBackend

from ziggurat.model import compiled
from ziggurat.model.config import ExpertsConfig
from ziggurat.model.cpu import accelerate
from ziggurat.model.transformer import Transformer
from ziggurat.training.device import place

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
    assert counter.frame_count == 2  # one for both blocks, one for the loss
    for (name, a), (_, b) in zip(plain.named_parameters(), fused.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6), name
    with torch.no_grad():
        assert torch.equal(plain(IDS), fused(IDS))
    assert counter.frame_count == 2


@pytest.mark.filterwarnings("ignore")
def test_blocks_with_experts_stay_plain(counter: CompileCounterWithBackend) -> None:
    """Their shapes follow the routing, so each step would be another graph."""
    experts = ExpertsConfig(count=3, active=1, d_ff=8, dense_layers=(0,))
    model = Transformer(TINY.model_copy(update={"experts": experts}))
    compiled.compile_blocks(model)
    for row in IDS:
        model.hidden(row[None]).sum().backward()
    assert counter.frame_count == 1  # the dense block
    assert not hasattr(model.blocks[1], "compiled")


@pytest.mark.cuda
@pytest.mark.filterwarnings("ignore")
def test_triton_computes_what_plain_blocks_do() -> None:
    if not compiled.compiles("auto", torch.device("cuda")):
        pytest.skip("no triton here")
    plain, fused = (place(tiny_model(), "cuda") for _ in range(2))
    compiled.compile_blocks(accelerate(fused))
    ids = IDS.cuda()
    for model in (plain, fused):
        model.nll(model.hidden(ids).flatten(0, 1), ids.flatten()).sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), fused.named_parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4), name


@pytest.mark.filterwarnings("ignore")
def test_an_accelerated_block_off_the_cpu_is_one_graph(counter: CompileCounterWithBackend) -> None:
    with torch.device("meta"):
        model = accelerate(Transformer(TINY, seed=None))
    compiled.compile_blocks(model)
    model.hidden(IDS.to("meta")).sum().backward()
    assert counter.frame_count == 1
    assert not torch._dynamo.utils.counters["graph_break"]
