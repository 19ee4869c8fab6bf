"""All blocks in one call: what the separate modules compute, for every family that it covers, and nothing stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.model.worlds import theirs
from torch import Tensor

from ziggurat.engine.cache import Arena
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.views import Decode, Prefill
from ziggurat.model.cpu import kernels
from ziggurat.model.cpu.quantized import load_to_serve, quantize
from ziggurat.model.hub import load_model
from ziggurat.model.hub.adapter_names import layout_of
from ziggurat.model.lora import LoraConfig, adapt, adapters_of
from ziggurat.model.transformer import Transformer

LOOPS: Any = kernels._whole_blocks() if kernels._compiled() is not None else None
pytestmark = pytest.mark.skipif(LOOPS is None, reason="numba's loops do not work on this machine")
COVERED = (
    "llama", "llama-biases", "llama2", "llama3", "llama-yarn", "mistral", "qwen2", "qwen3", "qwen3-tied",
    "qwen3-biases", "smollm3",
)  # fmt: skip
OTHERS = ("gpt2", "neox", "gemma3", "llama-gelu", "qwen3-moe")
GREEDY = SamplingParams(temperature=0.0, max_tokens=16)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sequences each one-call had."""
    found: list[int] = []
    through = LOOPS.through

    def counted(x: Tensor, *others: Any) -> Tensor:
        found.append(len(x))
        return through(x, *others)

    monkeypatch.setattr(LOOPS, "through", counted)
    return found


def separately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decode, "slots_of_layers", lambda self: None)


def written(model: Transformer, ids: Tensor) -> Tensor:
    """Logits (24, V) of the tokens after 8 others, written one by one."""
    arena = Arena(model.config, 1, 40, torch.bfloat16, torch.device("cpu"))
    with torch.inference_mode():
        model.hidden(ids[:1, :8], positions=torch.arange(8)[None], cache=Prefill(arena, np.array([0]), 8))
        return torch.cat([
            model(ids[:1, at : at + 1], positions=torch.tensor([[at]]), cache=Decode(arena, np.array([at])))[0]
            for at in range(8, 32)
        ])  # fmt: skip


@pytest.mark.parametrize("weights", ["auto", "int8", "int4"])
@pytest.mark.parametrize("name", COVERED)
def test_the_likeliest_tokens_are_those_of_separate_blocks(
    name: str, weights: str, tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both round to bf16, at other places: where the best two tokens differ by more than that, both say the same."""
    _, ids, _ = theirs(name, tmp_path)
    model = load_to_serve(tmp_path, torch.bfloat16, weights)
    found = written(model, ids)
    assert calls == [1] * 24
    separately(monkeypatch)
    expected = written(model, ids)
    assert len(calls) == 24
    away = (found - expected).abs()
    assert away.mean() <= 0.05 * expected.std()
    best = expected.topk(2).values
    decided = best[:, 0] - best[:, 1] > 2 * away.amax(1)
    assert decided.sum() >= 12
    assert torch.equal(found.argmax(1)[decided], expected.argmax(1)[decided])


@pytest.mark.parametrize("name", OTHERS)
def test_other_shapes_are_computed_by_their_modules(name: str, tmp_path: Path, calls: list[int]) -> None:
    _, ids, _ = theirs(name, tmp_path)
    model = load_model(tmp_path, dtype=torch.bfloat16)
    assert len(generate(model, [ids[0, :9].tolist()], GREEDY)[0].ids) == 16
    assert not calls


def test_a_full_window_is_left_to_the_modules(tmp_path: Path, calls: list[int]) -> None:
    _, ids, _ = theirs("mistral-window", tmp_path)  # of 8 keys
    generate(load_model(tmp_path, dtype=torch.bfloat16), [ids[0, :5].tolist()], GREEDY)
    assert calls == [1] * 4, "tokens at places 4 to 7"


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("name", ["llama-biases", "qwen3", "smollm3"])
def test_few_bits_give_a_sequence_the_same_bits_in_any_crowd(
    name: str, weights: str, tmp_path: Path, calls: list[int]
) -> None:
    _, ids, _ = theirs(name, tmp_path)
    model = load_to_serve(tmp_path, torch.bfloat16, weights)
    lengths, B = np.array([3, 1, 9, 30, 0]), 5

    def decoded(rows: list[int]) -> Tensor:
        arena = Arena(model.config, len(rows), 40, torch.bfloat16, torch.device("cpu"))
        for place, row in enumerate(rows):
            n = int(lengths[row])
            if n:
                view = Prefill(arena, np.array([place]), n)
                model.hidden(ids[:1, :n], positions=torch.arange(n)[None], cache=view)
        own = lengths[rows]
        return model.hidden(
            ids[:1, 30:31].expand(len(rows), 1),
            positions=torch.from_numpy(own)[:, None],
            cache=Decode(arena, own),
        )

    with torch.inference_mode():
        together = decoded(list(range(B)))
        assert calls == [B]
        for row in range(B):
            assert torch.equal(decoded([row])[0], together[row])


def tiny(tmp_path: Path) -> tuple[Transformer, list[int]]:
    _, ids, _ = theirs("llama", tmp_path)
    return load_model(tmp_path, dtype=torch.bfloat16), ids[0, :9].tolist()


def test_a_change_of_weights_or_modules_is_seen(tmp_path: Path, calls: list[int]) -> None:
    model, prompt = tiny(tmp_path)
    before = generate(model, [prompt], GREEDY)[0].ids
    table = model._table
    with torch.no_grad():
        model.blocks[1].mlp.down.weight.mul_(-3)
    changed = generate(model, [prompt], GREEDY)[0].ids
    assert changed != before
    assert model._table is not table
    model.blocks[1].mlp.down.weight.data = model.blocks[1].mlp.down.weight.data / -3
    assert generate(model, [prompt], GREEDY)[0].ids == before
    table = model._table
    assert generate(model, [prompt], GREEDY)[0].ids == before
    assert model._table is table, "nothing changed, so it was kept"
    quantize(model, bits=4)
    generate(model, [prompt], GREEDY)
    assert model._table is not table
    assert len(calls) == 5 * GREEDY.max_tokens


def test_fp32_masters_are_rounded_again_after_an_update(tmp_path: Path, calls: list[int]) -> None:
    _, ids, _ = theirs("llama", tmp_path)
    model, served = load_model(tmp_path), load_model(tmp_path, dtype=torch.bfloat16)
    model.compute_dtype = torch.bfloat16
    prompt = ids[0, :9].tolist()
    assert generate(model, [prompt], GREEDY)[0].ids == generate(served, [prompt], GREEDY)[0].ids
    for each in (model, served):
        with torch.no_grad():
            each.blocks[0].attention.out.weight.mul_(-2)
    assert generate(model, [prompt], GREEDY)[0].ids == generate(served, [prompt], GREEDY)[0].ids
    model.hidden(ids[:1, :4]).sum().backward()
    assert model._table is None, "what learns keeps no second copy"
    assert len(calls) == 4 * GREEDY.max_tokens


def test_an_adapter_over_the_same_blocks_is_not_passed_over(tmp_path: Path) -> None:
    base, prompt = tiny(tmp_path)
    before = generate(base, [prompt], GREEDY)[0].ids
    view = adapt(base, LoraConfig(rank=3), layout_of(base.config))
    with torch.no_grad():
        for layer in adapters_of(view).values():
            layer.lora_b.normal_(generator=torch.Generator().manual_seed(0))
    assert generate(view, [prompt], GREEDY)[0].ids != before
    assert generate(base, [prompt], GREEDY)[0].ids == before


def test_more_threads_change_no_number(tmp_path: Path) -> None:
    model, prompt = tiny(tmp_path)
    quantize(model, bits=8)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(generate(model, [prompt], GREEDY)[0])
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]
