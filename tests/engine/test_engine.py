"""The engine against the slow obvious way: the whole sequence through the model again for every token."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import torch

from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Completion, Event
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.prefill import length_groups
from ziggurat.errors import ContextError, UsageError, ZigguratError
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]

GREEDY = SamplingParams(temperature=0, max_tokens=12)


def prompts_of(n: int, vocab_size: int = 61, longest: int = 30, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocab_size, rng.integers(1, longest + 1)).tolist() for _ in range(n)]


@torch.no_grad()
def slow_greedy(model: Transformer, prompt: list[int], max_tokens: int) -> list[int]:
    ids = list(prompt)
    for _ in range(max_tokens):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@torch.no_grad()
def forward_logprobs(
    model: Transformer, prompt: list[int], completion: Completion, temperature: float
) -> torch.Tensor:
    logits = model(torch.tensor([prompt + completion.ids]))[0, len(prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(-1, torch.tensor(completion.ids)[:, None]).squeeze(-1)


def run(engine: Engine) -> dict[int, list[Event]]:
    events = defaultdict(list)
    while engine.has_work:
        for event in engine.step():
            events[event.handle].append(event)
    return events


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"kv_heads": 4},
        {"positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "qkv_bias": True},
    ],
)
def test_greedy_is_the_argmax_chain_without_a_cache(make_model: MakeModel, choices: dict[str, int]) -> None:
    model = make_model(**choices)
    prompts = prompts_of(9)
    completions = generate(model, prompts, GREEDY, max_slots=4)
    for prompt, completion in zip(prompts, completions, strict=True):
        assert completion.ids == slow_greedy(model, prompt, 12)
        assert completion.finish == "length"


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_are_those_of_the_training_forward(model: Transformer, temperature: float) -> None:
    """PPO's first ratio must be 1: in fp32 within 1e-4, whatever top-p cut away."""
    prompts = prompts_of(12)
    params = SamplingParams(temperature=temperature, top_p=0.8, max_tokens=10, seed=3)
    for prompt, completion in zip(prompts, generate(model, prompts, params, max_slots=5), strict=True):
        expected = forward_logprobs(model, prompt, completion, temperature)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)


def test_sampling_is_the_same_alone_and_in_a_batch(model: Transformer) -> None:
    """Two slots or sixteen, first or last: a request with a seed draws the same tokens."""
    prompts = prompts_of(16)
    each = [SamplingParams(max_tokens=3 + i % 9, seed=i, top_k=(0, 5)[i % 2]) for i in range(16)]
    together = generate(model, prompts, each, max_slots=16)
    crowded = generate(model, prompts, each, max_slots=2)
    for prompt, own, a, b in zip(prompts, each, together, crowded, strict=True):
        alone = generate(model, [prompt], own)[0]
        assert alone.ids == a.ids == b.ids


def test_one_seed_for_many_prompts_gives_equal_prompts_different_draws(model: Transformer) -> None:
    """Otherwise all rollouts of one prompt would be the same rollout."""
    same = generate(model, [[1, 2, 3]] * 6, SamplingParams(max_tokens=8, seed=0))
    assert len({tuple(c.ids) for c in same}) == 6
    assert same == generate(model, [[1, 2, 3]] * 6, SamplingParams(max_tokens=8, seed=0))


def test_without_a_seed_outputs_differ(model: Transformer) -> None:
    params = SamplingParams(max_tokens=12)
    assert generate(model, [[1, 2, 3]], params) != generate(model, [[1, 2, 3]], params)


def test_n_completions_of_a_prompt_follow_it_and_share_its_prefill(model: Transformer) -> None:
    calls = []
    hidden = model.hidden
    model.hidden = lambda ids, **kw: (calls.append(tuple(ids.shape)), hidden(ids, **kw))[1]  # type: ignore[method-assign]
    completions = generate(model, [[1, 2, 3], [4, 5, 6, 7]], SamplingParams(max_tokens=5, seed=1, n=3))
    assert calls[0] == (2, 3)  # two prompts, not six, of at most three tokens (the last one is decoded)
    assert len(completions) == 6
    for prompt, completion in zip([[1, 2, 3]] * 3 + [[4, 5, 6, 7]] * 3, completions, strict=True):
        expected = forward_logprobs(model, prompt, completion, 1.0)
        torch.testing.assert_close(torch.tensor(completion.logprobs), expected, atol=1e-4, rtol=0)
    assert len({tuple(c.ids) for c in completions[:3]}) == 3


def test_generation_ends_with_the_stop_id_and_never_beyond_the_limit(model: Transformer) -> None:
    prompts = prompts_of(30)
    stops = frozenset({3, 7, 11, 20, 21, 22})
    completions = generate(model, prompts, SamplingParams(max_tokens=9, seed=0, stop_ids=stops), max_slots=7)
    assert {c.finish for c in completions} == {"stop", "length"}
    for c in completions:
        assert not stops & set(c.ids[:-1])
        assert (c.ids[-1] in stops) == (c.finish == "stop")
        assert len(c.ids) == 9 if c.finish == "length" else len(c.ids) <= 9


def test_min_tokens_holds_the_stop_back(model: Transformer) -> None:
    stops = frozenset(range(30))
    completions = generate(
        model, prompts_of(10), SamplingParams(max_tokens=8, min_tokens=4, seed=0, stop_ids=stops)
    )
    assert min(len(c.ids) for c in completions) == 5
    assert all(not stops & set(c.ids[:4]) for c in completions)


def test_the_context_ends_a_completion(model: Transformer) -> None:
    prompt = list(range(45))
    assert len(generate(model, [prompt], GREEDY)[0].ids) == 3  # 45 + 3 = 48
    with pytest.raises(ContextError, match="48 tokens and the context is 48"):
        generate(model, [list(range(48))], GREEDY)


def test_events_tell_the_same_as_generate(model: Transformer) -> None:
    engine = Engine(model, max_slots=3)
    prompts = prompts_of(8)
    each = [SamplingParams(max_tokens=4 + i, seed=i, stop_ids=frozenset({5, 9})) for i in range(8)]
    handles = [engine.submit(p, own) for p, own in zip(prompts, each, strict=True)]
    events = run(engine)
    for handle, expected in zip(handles, generate(model, prompts, each), strict=True):
        assert [e.token for e in events[handle]] == expected.ids
        assert [e.index for e in events[handle]] == list(range(len(expected.ids)))
        assert [e.finish for e in events[handle]] == [None] * (len(expected.ids) - 1) + [expected.finish]
    assert engine.running == 0


def test_requests_join_a_running_batch_and_leave_it(model: Transformer) -> None:
    """Arrivals at any step, more than there are slots: every answer is still the argmax chain."""
    engine = Engine(model, max_slots=3)
    prompts, answers, handles = prompts_of(10), defaultdict(list), {}
    step = 0
    while engine.has_work or step < 10:
        if step < 10:
            handles[engine.submit(prompts[step], SamplingParams(temperature=0, max_tokens=2 + step % 5))] = (
                step
            )
        for event in engine.step():
            answers[event.handle].append(event.token)
        step += 1
    for handle, i in handles.items():
        assert answers[handle] == slow_greedy(model, prompts[i], 2 + i % 5)


def test_cancel_frees_the_slot_of_a_running_and_the_place_of_a_waiting_request(model: Transformer) -> None:
    engine = Engine(model, max_slots=2)
    a, b, c, d = (engine.submit(p, GREEDY) for p in prompts_of(4))
    engine.step()
    assert engine.running == 2
    engine.cancel(a)
    engine.cancel(d)
    engine.cancel(d)
    engine.cancel(999)
    assert engine.running == 1
    events = engine.step()
    assert [(e.handle, e.finish, e.token, e.index) for e in events if e.finish] == [
        (a, "cancelled", -1, 1),
        (d, "cancelled", -1, 0),
    ]
    assert {e.handle for e in events if not e.finish} == {b, c}
    run(engine)
    assert engine.running == 0
    assert not engine.has_work


def test_events_name_the_weights_and_set_weights_takes_effect(
    make_model: MakeModel, model: Transformer
) -> None:
    other = make_model(seed=1)
    engine = Engine(model, max_slots=2)
    first = run_one(engine, [1, 2, 3])
    engine.set_weights(7, other.state_dict())
    second = run_one(engine, [1, 2, 3])
    assert {e.weight_version for e in first} == {0}
    assert {e.weight_version for e in second} == {7}
    assert [e.token for e in second] == slow_greedy(other, [1, 2, 3], 12)
    assert [e.token for e in first] != [e.token for e in second]


def run_one(engine: Engine, prompt: list[int]) -> list[Event]:
    handle = engine.submit(prompt, GREEDY)
    return run(engine)[handle]


def test_bf16_follows_an_optimizer_step_taken_in_place(model: Transformer) -> None:
    """The model keeps cast copies of its weights; a stale copy would make rollouts of an old policy."""
    from ziggurat.model.transformer import set_compute_dtype

    set_compute_dtype(model, torch.bfloat16)
    engine = Engine(model, max_slots=1)
    before = [e.logprob for e in run_one(engine, [1, 2, 3])]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.3)
    assert [e.logprob for e in run_one(engine, [1, 2, 3])] != before


def test_alternatives_are_the_most_likely_tokens(model: Transformer) -> None:
    engine = Engine(model)
    engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=2, logprobs=4))
    event = engine.step()[0]
    with torch.no_grad():
        values, ids = model(torch.tensor([[1, 2, 3]]))[0, -1].log_softmax(-1).topk(4)
    assert [id for id, _ in event.top] == ids.tolist()
    assert [lp for _, lp in event.top] == pytest.approx(values.tolist(), abs=1e-4)


class EvenTokens:
    """A mask over ids: only even ones."""

    def allowed(self) -> torch.Tensor:
        return torch.arange(61) % 2 == 0

    def accept(self, token: int) -> bool:
        return token % 2 == 0


class AfterThree:
    """A stop rule: three tokens are enough."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def accept(self, token: int) -> bool:
        self.seen.append(token)
        return len(self.seen) == 3


def test_masks_and_stop_rules_follow_each_completion_on_its_own(model: Transformer) -> None:
    engine = Engine(model, max_slots=3)
    params = SamplingParams(max_tokens=9, seed=0, n=2)
    handle = engine.submit([1, 2, 3], params, stop_rule=AfterThree(), logits_mask=EvenTokens())
    free = engine.submit([4, 5], SamplingParams(temperature=0, max_tokens=9))
    events = run(engine)
    for choice in (0, 1):
        own = [e for e in events[handle] if e.choice == choice]
        assert [e.finish for e in own] == [None, None, "stop"]
        assert all(e.token % 2 == 0 for e in own)
    assert [e.token for e in events[free]] == slow_greedy(model, [4, 5], 9)


@pytest.mark.parametrize("params", [GREEDY, SamplingParams(seed=0), SamplingParams(seed=0, top_p=0.5)])
def test_damaged_weights_are_named_and_leave_an_engine_that_works(
    model: Transformer, params: SamplingParams
) -> None:
    """Sampling from NaN used to draw token V, which does not exist, and die of that instead."""
    engine = Engine(model, max_slots=2)
    good = {k: v.clone() for k, v in model.state_dict().items()}
    engine.submit([1, 2, 3], params)
    with torch.no_grad():
        model.norm.weight.fill_(float("nan"))
    with pytest.raises(ZigguratError, match="not finite"):
        engine.step()
    engine.set_weights(1, good)
    assert [e.token for e in run_one(engine, [1, 2, 3])] == slow_greedy(model, [1, 2, 3], 12)


def test_prompts_that_cannot_be_are_refused(model: Transformer) -> None:
    engine = Engine(model)
    with pytest.raises(UsageError, match="empty"):
        engine.submit([], GREEDY)
    with pytest.raises(UsageError, match="token 61 and the model 61"):
        engine.submit([61], GREEDY)
    with pytest.raises(UsageError, match="generate"):
        engine.submit([1], SamplingParams(beam=2))
    assert not engine.has_work


def test_prefill_groups_hold_like_lengths_and_everything_once() -> None:
    prompts = [tuple(range(n)) for n in (3, 40, 5, 2, 38, 20, 1)]
    groups = length_groups(prompts, max_tokens=80)
    assert sorted(p for group in groups for p in group) == sorted(prompts)
    for group in groups:
        assert len(group) * len(group[0]) <= 80 or len(group) == 1
        assert 2 * len(group[-1]) >= len(group[0])
