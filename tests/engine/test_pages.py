"""The cache in pages says what the contiguous one says, shares what is alike, and loses no page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ziggurat.engine.cache import Arena
from ziggurat.engine.engine import Engine
from ziggurat.engine.pages import PagedArena
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.views import Decode, Extend, Prefill
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]


def prompts_of(n: int, *, shared: int = 0, longest: int = 30, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    head = rng.integers(0, 61, shared).tolist()
    return [head + rng.integers(0, 61, rng.integers(1, longest - shared + 1)).tolist() for _ in range(n)]


def written(engine: Engine, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
    handles = [engine.submit(prompt, params) for prompt in prompts]
    tokens: dict[int, list[int]] = {handle: [] for handle in handles}
    while engine.has_work:
        for event in engine.step():
            tokens[event.handle].append(event.token)
    return [tokens[handle] for handle in handles]


def arena_of(engine: Engine) -> PagedArena:
    assert isinstance(engine.arena, PagedArena)
    return engine.arena


@pytest.mark.parametrize(
    ("page_tokens", "options"),
    [
        (1, {}),
        (32, {}),
        (5, {"chunk_flops": 3e5}),
        (1, {"parked": 3, "chunk_flops": 3e5}),
        (5, {"parked": 3, "chunk_flops": 3e5}),
        (5, {"cache_tokens": 60}),
        (32, {"cache_tokens": 90, "parked": 2, "chunk_flops": 3e5}),
        (5, {"batch_invariant": True, "parked": 2, "cache_tokens": 80}),
    ],
)
def test_tokens_are_those_of_the_contiguous_cache(
    model: Transformer, page_tokens: int, options: dict[str, Any]
) -> None:
    prompts = prompts_of(6, shared=12) + prompts_of(6, seed=1) + prompts_of(6, shared=12)
    params = SamplingParams(seed=3, max_tokens=9, temperature=0.8)
    contiguous = Engine(model, max_slots=4, page_tokens=0, **options)
    paged = Engine(model, max_slots=4, page_tokens=page_tokens, **options)
    assert type(contiguous.arena) is Arena
    assert written(paged, prompts, params) == written(contiguous, prompts, params)
    assert paged.lot.hits == contiguous.lot.hits
    arena = arena_of(paged)
    paged.reset()
    assert arena.free_pages == arena.k.shape[1] - 1


def test_small_models_guess_over_pages_too(make_model: MakeModel) -> None:
    model, small = make_model(seed=1), make_model(seed=2, layers=1)
    prompts, params = prompts_of(7), SamplingParams(temperature=0, max_tokens=12)
    paged = Engine(model, max_slots=3, small=small, page_tokens=4)
    assert written(paged, prompts, params) == written(Engine(model, max_slots=3), prompts, params)


def test_alike_beginnings_lie_in_the_same_pages(model: Transformer) -> None:
    """Four completions of one prompt of 25 tokens: its six whole pages are there once."""
    engine = Engine(model, max_slots=4, parked=1, page_tokens=4)
    arena = arena_of(engine)
    before = arena.free_pages
    engine.submit(list(range(25)), SamplingParams(n=4, seed=1, max_tokens=6))
    engine.step()
    assert before - arena.free_pages == 6 + 4  # and a page of its own for each
    while engine.has_work:
        engine.step()
    assert engine.advance() is None  # ended rows are let go at the next step
    engine.lot.clear()
    assert arena.free_pages == before


def test_random_arrivals_and_departures_leave_no_page_behind(model: Transformer) -> None:
    rng = np.random.default_rng(4)
    engine = Engine(model, max_slots=5, parked=3, cache_tokens=100, chunk_flops=3e5, page_tokens=4)
    arena, alive = arena_of(engine), []
    for _ in range(250):
        if rng.random() < 0.4:
            head = list(range(int(rng.integers(1, 30))))
            alive.append(
                engine.submit([*head, *rng.integers(0, 61, 3).tolist()], SamplingParams(max_tokens=8, seed=1))
            )
        if alive and rng.random() < 0.2:
            engine.cancel(alive.pop(int(rng.integers(len(alive)))))
        engine.step()
        held = [page for slot in range(arena.slots) for page in arena.pages_of(slot)]
        assert len(set(held)) + arena.free_pages == arena.k.shape[1] - 1
    while engine.has_work:
        engine.step()
    engine.advance()
    engine.lot.clear()
    assert arena.free_pages == arena.k.shape[1] - 1


def test_who_shares_a_page_does_not_write_in_it(model: Transformer) -> None:
    """After a shared prefix both go on with tokens of their own, and each reads only its own."""
    torch.manual_seed(0)
    config = model.config
    K, D, H = config.kv_heads, config.d_head, config.heads
    paged = PagedArena(config, 3, 24, torch.float32, torch.device("cpu"), page_tokens=4, pages=20)
    plain = Arena(config, 3, 24, torch.float32, torch.device("cpu"))
    for arena in (paged, plain):
        torch.manual_seed(1)
        one = np.zeros(1, dtype=np.int64)
        new = [torch.randn(1, heads, 10, D) for heads in (H, K, K)]
        seen = [Prefill(arena, one, 10).attend(0, *new)]
        arena.share(0, 1, 0, 10)
        for slot in (0, 1):
            new = [torch.randn(1, heads, 3, D) for heads in (H, K, K)]
            seen.append(Extend(arena, slot, 10, 3).attend(0, *new))
        arena.move(np.array([1]), np.array([2]), 13)
        arena.share(2, 1, 0, 13)
        new = [torch.randn(3, heads, 1, D) for heads in (H, K, K)]
        seen.append(Decode(arena, np.array([13, 13, 13])).attend(0, *new))
        if arena is paged:
            found = seen
    for a, b in zip(found, seen, strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(seen[1], seen[2])
