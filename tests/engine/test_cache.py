"""Memory of keys and values goes back to the system with the sequences that needed it."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
import torch

from ziggurat.engine.cache import Arena
from ziggurat.engine.engine import Engine
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.views import Extend
from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Transformer

LARGE = {
    "kv_heads": 1,
    "heads": 1,
    "d_head": 64,
    "d_model": 64,
    "context": 4096,
}  # a MiB a slot and layer in fp32


def rss_mib() -> float:
    return psutil.Process().memory_info().rss / 2**20


def test_a_released_slot_costs_nothing_and_reads_as_zeros() -> None:
    """The arena was shared memory once: madvise left every page where it was, contents and all."""
    config = ModelConfig(vocab_size=64, layers=2, d_ff=64, **LARGE)
    arena = Arena(config, 16, 4096, torch.float32, torch.device("cpu"))
    before = rss_mib()
    arena.k.fill_(1.0)
    assert rss_mib() - before == pytest.approx(32, abs=4)
    for slot in range(15):
        arena.release(slot)
    assert rss_mib() - before == pytest.approx(2, abs=4)
    assert not arena.k[:, :15].any()
    assert arena.k[:, 15].all()
    arena.clear()
    assert not arena.k.any()


def test_a_chunk_in_bf16_sees_what_is_there_and_what_is_new() -> None:
    """Against one attention over the whole, in fp32; four query heads share two key heads."""
    config = ModelConfig(
        vocab_size=64, layers=1, d_model=64, heads=4, kv_heads=2, d_head=16, d_ff=64, context=64
    )
    arena = Arena(config, 3, 64, torch.bfloat16, torch.device("cpu"))
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 40, 16), torch.randn(1, 2, 40, 16), torch.randn(1, 2, 40, 16)
    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    for start, stop in ((0, 1), (1, 30), (30, 40)):
        new = (part[:, :, start:stop].bfloat16() for part in (q, k, v))
        seen = Extend(arena, 1, start, stop - start).attend(0, *new)
        torch.testing.assert_close(seen.float(), whole[:, :, start:stop], atol=0.03, rtol=0.03)


def test_a_slot_that_is_empty_holds_no_memory(make_model: Callable[..., Transformer]) -> None:
    """Slots of ended sequences kept their pages: `cache_tokens` bounded tokens, and memory grew to every slot's all."""
    model = make_model(**LARGE)
    engine = Engine(model, max_slots=4)
    for tokens in (3, 9, 3, 9):
        engine.submit(list(range(20)), SamplingParams(temperature=0, max_tokens=tokens))
    for _ in range(5):
        engine.step()
    assert engine.running == 2
    assert engine.arena.k[:, :2].any()
    assert not engine.arena.k[:, 2:].any()
