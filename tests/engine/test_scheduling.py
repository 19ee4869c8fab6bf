"""Whatever the scheduler does - chunks, copies, preemption, neighbours - a request's tokens stay its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.engine.conftest import tiny_model

from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Event
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.prefill import KEY_WEIGHT
from ziggurat.engine.prefixes import common_prefix
from ziggurat.model.accounting import forward_flops, tokens_within
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]

GREEDY = SamplingParams(temperature=0, max_tokens=8)


def prompts_of(n: int, *, shared: int = 0, longest: int = 30, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    head = rng.integers(0, 61, shared).tolist()
    return [head + rng.integers(0, 61, rng.integers(1, longest - shared + 1)).tolist() for _ in range(n)]


def run(engine: Engine) -> dict[tuple[int, int], list[Event]]:
    events = defaultdict(list)
    while engine.has_work:
        for event in engine.step():
            events[event.handle, event.choice].append(event)
    return events


@cache
def alone() -> tuple[list[list[int]], list[list[int]]]:
    """Prompts, some of one beginning, and what the model of the fixture answers to each by itself."""
    prompts = prompts_of(8, shared=12) + prompts_of(8, seed=1) + prompts_of(8, shared=12)
    return prompts, expected(tiny_model(), prompts)


def tokens_of(engine: Engine, prompts: list[list[int]], params: SamplingParams = GREEDY) -> list[list[int]]:
    handles = [engine.submit(prompt, params) for prompt in prompts]
    events = run(engine)
    return [[event.token for event in events[handle, 0]] for handle in handles]


def expected(
    model: Transformer, prompts: list[list[int]], params: SamplingParams = GREEDY
) -> list[list[int]]:
    return [generate(model, [prompt], params)[0].ids for prompt in prompts]


@pytest.mark.parametrize(
    "options",
    [
        {"chunk_flops": 1.0},
        {"chunk_flops": 5e5},
        {"parked": 3},
        {"parked": 3, "chunk_flops": 3e5},
        {"cache_tokens": 60},
        {"cache_tokens": 90, "parked": 2, "chunk_flops": 3e5},
        {"batch_invariant": True},
        {"batch_invariant": True, "parked": 2, "cache_tokens": 80},
    ],
)
def test_tokens_do_not_depend_on_the_schedule(model: Transformer, options: dict[str, Any]) -> None:
    prompts, answers = alone()
    engine = Engine(model, max_slots=4, **options)
    assert tokens_of(engine, prompts) == answers
    assert engine.running == 0
    assert engine.used_tokens == engine.lot.tokens <= engine.cache_tokens
    if "cache_tokens" in options and not options.get("parked"):
        assert engine.admission.preempted > 0


def test_sampled_tokens_survive_preemption(model: Transformer) -> None:
    params = SamplingParams(seed=5, max_tokens=16)
    prompts = prompts_of(6, longest=20)
    engine = Engine(model, max_slots=4, cache_tokens=64)
    assert tokens_of(engine, prompts, params) == expected(model, prompts, params)
    assert engine.admission.preempted > 0


def test_rules_keep_their_state_through_a_preemption(model: Transformer) -> None:
    class Count:
        def __init__(self) -> None:
            self.seen: list[int] = []

        def accept(self, token: int) -> bool:
            self.seen.append(token)
            return len(self.seen) == 10

    engine = Engine(model, max_slots=3, cache_tokens=50)
    rules = [Count() for _ in range(5)]
    for prompt, rule in zip(prompts_of(5, longest=20), rules, strict=True):
        engine.submit(prompt, SamplingParams(temperature=0, max_tokens=20), stop_rule=rule)
    events = run(engine)
    assert engine.admission.preempted > 0
    for own, rule in zip(events.values(), rules, strict=True):
        assert [event.token for event in own] == rule.seen
        assert [event.index for event in own] == list(range(10))


def test_a_long_prompt_lets_the_others_go_on(model: Transformer) -> None:
    """While it is prefilled chunk by chunk, every running request gets a token at every step."""
    engine = Engine(model, max_slots=3, chunk_flops=forward_flops(model.config, 8))
    short = [engine.submit([1, 2], SamplingParams(temperature=0, max_tokens=20)) for _ in range(2)]
    engine.step()
    long = engine.submit(list(range(40)), GREEDY)
    steps = 0
    while True:
        events = engine.step()
        steps += 1
        assert {event.handle for event in events} >= set(short)
        if any(event.handle == long for event in events):
            break
    assert 3 <= steps <= 6  # 39 tokens, some 16 at a time


def test_a_crowd_that_waits_gets_more_of_a_step_than_one_prompt(model: Transformer) -> None:
    def first_step(prompts: int) -> int:
        engine = Engine(model, max_slots=8, chunk_flops=1.01 * forward_flops(model.config, 16, 0, KEY_WEIGHT))
        for start in range(prompts):
            engine.submit(list(range(start, start + 9)), GREEDY)
        engine.step()
        return engine.prefiller.computed

    assert [first_step(prompts) for prompts in (1, 2, 4)] == [
        8,
        16,
        24,
    ]  # whole prompts of 8, the last decoded
    assert first_step(8) >= 48


def test_a_prefilling_request_can_be_cancelled(model: Transformer) -> None:
    engine = Engine(model, max_slots=2, chunk_flops=1.0)
    handle = engine.submit(list(range(40)), GREEDY)
    engine.step()
    engine.cancel(handle)
    assert engine.running == 0
    assert [event.finish for event in engine.step()] == ["cancelled"]
    assert not engine.has_work
    assert tokens_of(engine, [[5, 6, 7]]) == expected(model, [[5, 6, 7]])


def test_the_next_turn_of_a_conversation_computes_only_what_is_new(model: Transformer) -> None:
    engine = Engine(model, max_slots=2, parked=2)
    first = list(range(1, 21))
    answer = tokens_of(engine, [first])[0]
    before = engine.prefiller.computed
    second = [*first, *answer, 33, 34, 35]
    assert tokens_of(engine, [second]) == expected(model, [second])
    # the last token of the answer was never in the cache, and the last of the prompt is decoded
    assert engine.prefiller.computed - before == 3
    assert engine.lot.hits == 27
    assert len(engine.lot.parked) == 1  # the conversation grew in its place


def test_a_crowd_that_waits_does_not_search_the_cache_at_every_step(
    model: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waiting prompt was compared with every running one at every step: 32 clients, 60 ms a step."""
    engine = Engine(model, max_slots=16, parked=2, chunk_flops=1.0)
    searches = []
    longest = engine.lot.longest

    def counted(ids: Any, salt: str) -> tuple[int, int]:
        searches.append(len(ids))
        return longest(ids, salt)

    monkeypatch.setattr(engine.lot, "longest", counted)
    prompts = [[i, *range(40)] for i in range(16)]
    assert tokens_of(engine, prompts) == expected(model, prompts)
    assert len(searches) <= 3 * len(prompts)  # 40 tokens take three chunks


def test_n_completions_prefill_a_long_prompt_once(model: Transformer) -> None:
    engine = Engine(model, max_slots=4, parked=1, chunk_flops=1.0)
    engine.submit(list(range(40)), SamplingParams(seed=0, max_tokens=3, n=4))
    events = run(engine)
    assert engine.prefiller.computed == 39
    assert len({tuple(event.token for event in own) for own in events.values()}) > 1


def test_other_salts_and_new_weights_see_nothing_of_what_is_parked(
    make_model: MakeModel, model: Transformer
) -> None:
    prompt = list(range(1, 30))
    engine = Engine(model, max_slots=2, parked=4)
    mine = SamplingParams(temperature=0, max_tokens=4, cache_salt="mine")
    yours = SamplingParams(temperature=0, max_tokens=4, cache_salt="yours")
    tokens_of(engine, [prompt], mine)
    tokens_of(engine, [prompt], yours)
    assert engine.lot.hits == 0
    tokens_of(engine, [prompt], yours)
    assert engine.lot.hits == 28
    other = make_model(seed=1)
    engine.set_weights(2, other.state_dict())
    assert tokens_of(engine, [prompt], yours) == expected(other, [prompt], yours)
    assert engine.lot.hits == 28


def test_a_running_sequence_of_older_weights_lends_nothing(make_model: MakeModel, model: Transformer) -> None:
    engine = Engine(model, max_slots=2, parked=1)
    engine.submit(list(range(1, 30)), SamplingParams(temperature=0, max_tokens=15))
    engine.step()
    other = make_model(seed=1)
    engine.set_weights(1, other.state_dict())
    handle = engine.submit(list(range(1, 30)), GREEDY)
    own = run(engine)[handle, 0]
    assert [event.token for event in own] == expected(other, [list(range(1, 30))])[0]
    assert engine.lot.hits == 0


def test_the_oldest_parked_sequence_makes_room(model: Transformer) -> None:
    engine = Engine(model, max_slots=1, parked=2)
    prompts = [[i] * 12 for i in range(3)]
    tokens_of(engine, prompts)
    assert sorted(entry.ids[0] for entry in engine.lot.parked) == [1, 2]


def test_every_number_is_the_same_bit_for_bit_with_fixed_shapes(model: Transformer) -> None:
    """Alone, in a crowd, after preemption, with a shared prefix: log-probabilities, not only tokens."""
    params = SamplingParams(seed=3, max_tokens=8)
    prompts = prompts_of(10, shared=8, longest=36)

    def numbers(engine: Engine, prompts: list[list[int]]) -> list[list[float]]:
        handles = [engine.submit(prompt, params) for prompt in prompts]
        events = run(engine)
        return [[event.logprob for event in events[handle, 0]] for handle in handles]

    alone = [numbers(Engine(model, max_slots=4, batch_invariant=True), [prompt])[0] for prompt in prompts]
    crowded = Engine(model, max_slots=4, batch_invariant=True, parked=2)
    assert numbers(crowded, prompts) == alone
    assert numbers(crowded, prompts[::-1]) == alone[::-1]
    short = Engine(model, max_slots=4, batch_invariant=True, cache_tokens=60)
    assert numbers(short, prompts) == alone
    assert short.admission.preempted > 0


def test_prompt_logprobs_are_those_of_one_forward_pass(model: Transformer) -> None:
    prompt = list(range(40))
    for options in ({}, {"chunk_flops": 1.0}, {"parked": 2}):
        engine = Engine(model, max_slots=2, **options)  # type: ignore[arg-type]
        for _ in range(2):  # the second time its prefix is parked
            handle = engine.submit(prompt, SamplingParams(temperature=0, max_tokens=2, prompt_logprobs=3))
            own = run(engine)[handle, 0]
            with torch.no_grad():
                logprobs = model(torch.tensor([prompt]))[0].log_softmax(-1)
            scores = own[0].prompt_scores
            assert [score.token for score in scores] == prompt[1:]
            assert own[1].prompt_scores == ()
            for i, score in enumerate(scores):
                assert score.logprob == pytest.approx(float(logprobs[i, prompt[i + 1]]), abs=1e-4)
                values, ids = logprobs[i].topk(3)
                assert [token for token, _ in score.top] == ids.tolist()
                assert [value for _, value in score.top] == pytest.approx(values.tolist(), abs=1e-4)


def test_many_random_arrivals_and_cancellations_leak_nothing(model: Transformer) -> None:
    rng = np.random.default_rng(0)
    engine = Engine(model, max_slots=4, parked=3, cache_tokens=110, chunk_flops=2e5)
    alive: set[int] = set()
    finished = 0
    for step in range(300):
        if step < 250 and rng.random() < 0.5:
            prompt = prompts_of(1, shared=10, seed=int(rng.integers(40)))[0]
            alive.add(engine.submit(prompt, SamplingParams(seed=step, max_tokens=int(rng.integers(1, 14)))))
        if alive and rng.random() < 0.1:
            engine.cancel(sorted(alive)[int(rng.integers(len(alive)))])
        for event in engine.step():
            if event.finish:
                alive.discard(event.handle)
                finished += 1
        assert engine.used_tokens <= engine.cache_tokens
        slots = [entry.slot for entry in engine.lot.parked] + engine.lot.free
        assert sorted(slots) == [4, 5, 6]
    run(engine)
    assert finished > 80
    assert not engine.has_work


def test_tokens_within_is_the_inverse_of_flops(model: Transformer) -> None:
    for start in (0, 7, 900):
        for tokens in (1, 20, 300):
            assert (
                tokens_within(1.0001 * forward_flops(model.config, tokens, start), model.config, start)
                == tokens
            )
            heavy = forward_flops(model.config, tokens, start, 4.0)
            assert tokens_within(1.0001 * heavy, model.config, start, 4.0) == tokens


def test_common_prefix() -> None:
    def ids(*numbers: int) -> np.ndarray:
        return np.array(numbers, dtype=np.int32)

    assert common_prefix(ids(1, 2, 3), ids(1, 2, 4)) == 2
    assert common_prefix(ids(1, 2), ids(1, 2, 4)) == 2
    assert common_prefix(ids(), ids(1)) == 0
    assert common_prefix(ids(3), ids(1)) == 0
