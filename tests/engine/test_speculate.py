"""Speculative decoding writes what the large model alone would write: in distribution, and greedily token for token."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ziggurat.engine import speculate
from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Event
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.sampler import Rules, draw, pick, probabilities, tempered_logprobs
from ziggurat.errors import UsageError
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]
VOCABULARY = 5


@pytest.fixture
def small(make_model: MakeModel) -> Transformer:
    """The large model with noise on its weights: its guesses are often right, and often wrong."""
    noisy = make_model()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in noisy.parameters():
            weight += (
                0.15 * weight.std() * torch.randn(weight.shape, generator=generator) if weight.ndim > 1 else 0
            )
    return noisy


def prompts_of(n: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 61, rng.integers(1, 24)).tolist() for _ in range(n)]


def run(engine: Engine) -> dict[int, list[Event]]:
    events = defaultdict(list)
    while engine.has_work:
        for event in engine.step():
            events[event.handle].append(event)
    return events


def tokens_of(engine: Engine, prompts: list[list[int]], params: SamplingParams) -> list[list[int]]:
    handles = [engine.submit(prompt, params, path=(i,)) for i, prompt in enumerate(prompts)]
    events = run(engine)
    assert all([e.index for e in own] == list(range(len(own))) for own in events.values())
    return [[event.token for event in events[handle]] for handle in handles]


# --- the distribution -------------------------------------------------------------------------------------------


def p_value(counts: dict[tuple[int, ...], int], expected: dict[tuple[int, ...], float]) -> float:
    """Of a G-test; the rarest cells are one, so that none is expected fewer than 5 times."""
    if any(expected[cell] == 0 for cell in counts):
        return 0.0
    total = sum(counts.values())
    pairs, rare = [], [0, 0.0]
    for cell, share in sorted(expected.items(), key=lambda item: item[1]):
        if rare[1] < 5:
            rare = [rare[0] + counts.get(cell, 0), rare[1] + total * share]
        else:
            pairs.append((counts.get(cell, 0), total * share))
    pairs.append((rare[0], rare[1]))
    g = 2 * sum(n * np.log(n / e) for n, e in pairs if n)
    freedom = torch.tensor((len(pairs) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, torch.tensor(max(g, 0.0) / 2, dtype=torch.float64)))


def exact(model: Transformer, prompt: list[int], params: SamplingParams) -> dict[tuple[int, ...], float]:
    """The joint distribution of three tokens, from the large model's forward pass."""
    cells = list(itertools.product(range(VOCABULARY), repeat=3))
    rules = Rules.of([params] * len(cells))
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *cell] for cell in cells]))[:, len(prompt) - 1 : -1]
    each = [probabilities(tempered_logprobs(logits[:, j], rules.temperature), rules) for j in range(3)]
    return {cell: float(np.prod([each[j][i, cell[j]] for j in range(3)])) for i, cell in enumerate(cells)}


def measured(
    model: Transformer, small: Transformer, params: SamplingParams, runs: int
) -> tuple[float, float]:
    """The p-value of what the engine writes, and the share of guesses that it took."""
    prompt = [1, 3]
    engine = Engine(model, max_slots=500, context=5, small=small, guesses=2)
    for seed in range(runs):
        engine.submit(prompt, params, path=(seed,))
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for own in run(engine).values():
        counts[tuple(event.token for event in own)] += 1
    assert sum(counts.values()) == runs
    assert engine.speculator is not None
    return p_value(counts, exact(model, prompt, params)), engine.speculator.taken / engine.speculator.guessed


@pytest.fixture
def pair(make_model: MakeModel) -> tuple[Transformer, Transformer]:
    shape = {"vocab_size": VOCABULARY, "context": 8, "gain": 60.0}
    return make_model(seed=1, **shape), make_model(seed=2, layers=1, **shape)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"top_p": 0.8},
        {"min_p": 0.15},
        {"temperature": 1.4, "top_k": 4, "top_p": 0.9},
    ],
)
def test_three_tokens_are_distributed_as_the_large_model_says(
    pair: tuple[Transformer, Transformer], rules: dict[str, Any]
) -> None:
    p, share = measured(*pair, SamplingParams(seed=0, max_tokens=3, **rules), runs=2000)
    assert 0.05 < share < 0.9  # the small model is often right, and often wrong
    assert p > 1e-3


def _always(p: Tensor, q: Tensor, guess: Tensor, accept: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
    return guess.clone(), torch.ones_like(guess, dtype=torch.bool)


def _again_from_p(
    p: Tensor, q: Tensor, guess: Tensor, accept: Tensor, again: Tensor
) -> tuple[Tensor, Tensor]:
    """A common mistake: what was refused is drawn from p, not from the positive part of p - q."""
    taken = accept * q.gather(-1, guess[:, None])[:, 0] < p.gather(-1, guess[:, None])[:, 0]
    return torch.where(taken, guess, pick(p, again)), taken


def _one_number(p: Tensor, q: Tensor, guess: Tensor, accept: Tensor, again: Tensor) -> tuple[Tensor, Tensor]:
    """Another: one random number decides both whether a guess is taken and what comes in its place."""
    return speculate_settle(p, q, guess, accept, accept)


speculate_settle = speculate.settle


@pytest.mark.parametrize("wrong", [_always, _again_from_p, _one_number])
def test_the_test_sees_wrong_ways(
    pair: tuple[Transformer, Transformer], monkeypatch: pytest.MonkeyPatch, wrong: Any
) -> None:
    monkeypatch.setattr(speculate, "settle", wrong)
    assert measured(*pair, SamplingParams(seed=0, max_tokens=3), runs=2000)[0] < 1e-6


def test_probabilities_are_what_draw_draws_from() -> None:
    torch.manual_seed(0)
    params = [
        SamplingParams(temperature=0),
        SamplingParams(top_k=1),
        SamplingParams(),
        SamplingParams(top_k=7, temperature=0.5),
        SamplingParams(top_p=0.7),
        SamplingParams(min_p=0.2),
        SamplingParams(top_k=9, top_p=0.8, min_p=0.05),
    ]
    rules = Rules.of(params)
    logprobs = tempered_logprobs(3 * torch.randn(len(params), 300), rules.temperature)
    p = probabilities(logprobs, rules)
    assert torch.allclose(p.sum(-1), torch.ones(len(params)))
    runs = 1000
    counts = torch.zeros_like(p)
    for i in range(runs):
        ids = draw(logprobs, rules, np.full(len(params), (i + 0.5) / runs, dtype=np.float32))
        counts[torch.arange(len(params)), ids] += 1
    assert (counts / runs - p).abs().max() < 1.5 / runs + 1e-4  # the numbers are spread evenly


# --- the schedule -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("temperature", "options"),
    [
        (0.0, {}),
        (1.0, {}),
        (0.0, {"guesses": 1}),
        (1.0, {"guesses": 9}),
        (0.0, {"parked": 3, "chunk_flops": 3e5}),
        (1.0, {"parked": 3, "chunk_flops": 3e5}),
        (0.0, {"cache_tokens": 60}),
        (1.0, {"cache_tokens": 90, "parked": 2}),
        (0.0, {"fill": 3}),
        (1.0, {"fill": 3}),
    ],
)
def test_tokens_do_not_depend_on_schedule_or_window(
    model: Transformer,
    small: Transformer,
    monkeypatch: pytest.MonkeyPatch,
    temperature: float,
    options: dict[str, Any],
) -> None:
    """Greedily they are those of the plain engine; drawn, those of each request alone."""
    options = dict(options)
    monkeypatch.setattr(speculate, "FILL_TOKENS", options.pop("fill", 512))
    params = SamplingParams(temperature=temperature, seed=3, max_tokens=14)
    prompts = prompts_of(14)
    crowd = Engine(model, max_slots=4, small=small, **options)
    found = tokens_of(crowd, prompts, params)
    if temperature == 0:
        expected = tokens_of(Engine(model, max_slots=4), prompts, params)
    else:
        expected = []
        for i, prompt in enumerate(prompts):
            alone = Engine(model, max_slots=1, small=small)
            alone.submit(prompt, params, path=(i,))
            expected.append([event.token for event in run(alone)[0]])
    assert found == expected
    assert crowd.running == 0
    assert ("cache_tokens" in options and not options.get("parked")) <= (crowd.admission.preempted > 0)
    assert crowd.speculator is not None
    assert 0 < crowd.speculator.taken < crowd.speculator.guessed


def test_a_model_that_guesses_for_itself_is_always_right(model: Transformer) -> None:
    engine = Engine(model, max_slots=3, small=model, guesses=3)
    for prompt in prompts_of(5):
        engine.submit(prompt, SamplingParams(seed=1, max_tokens=12))
    steps = 0
    while engine.has_work:
        engine.step()
        steps += 1
    assert engine.speculator is not None
    assert engine.speculator.taken == engine.speculator.guessed > 0
    assert steps <= 2 * 3  # two rounds of 12 tokens, 4 at a time


def test_log_probabilities_are_those_of_the_large_model(model: Transformer, small: Transformer) -> None:
    engine = Engine(model, max_slots=2, small=small)
    params = SamplingParams(seed=2, temperature=0.8, max_tokens=10, logprobs=3)
    prompt = [4, 5, 6]
    engine.submit(prompt, params)
    events = run(engine)[0]
    ids = [*prompt, *(event.token for event in events)]
    with torch.no_grad():
        logprobs = (model(torch.tensor([ids]))[0, len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
    for event, row in zip(events, logprobs, strict=True):
        assert event.logprob == pytest.approx(float(row[event.token]), abs=1e-4)
        assert event.top[0][1] == pytest.approx(float(row.max()), abs=1e-4)


def test_stops_end_a_completion_in_the_midst_of_a_window(model: Transformer) -> None:
    class After:
        def __init__(self, tokens: int) -> None:
            self.left = tokens

        def accept(self, token: int) -> bool:
            self.left -= 1
            return self.left == 0

    engine = Engine(model, max_slots=4, small=model, guesses=5, parked=2)
    plain = Engine(model, max_slots=4)
    greedy = SamplingParams(temperature=0, max_tokens=20)
    whole = tokens_of(plain, [[3, 4, 5]], greedy)[0]
    stop_id = next(token for i, token in enumerate(whole) if i > 1 and token not in whole[:i])
    by_id = engine.submit(
        [3, 4, 5], SamplingParams(temperature=0, max_tokens=20, stop_ids=frozenset({stop_id}))
    )
    by_rule = engine.submit([3, 4, 5], greedy, stop_rule=After(3))
    by_length = engine.submit([3, 4, 5], SamplingParams(temperature=0, max_tokens=4))
    by_context = engine.submit([3, 4, 5] * 14, greedy)
    events = run(engine)
    assert [e.token for e in events[by_id]] == whole[: whole.index(stop_id) + 1]
    assert [e.token for e in events[by_rule]] == whole[:3]
    assert [e.token for e in events[by_length]] == whole[:4]
    assert [e.token for e in events[by_context]] == tokens_of(plain, [[3, 4, 5] * 14], greedy)[0]
    assert [events[h][-1].finish for h in (by_id, by_rule, by_length, by_context)] == [
        "stop",
        "stop",
        "length",
        "length",
    ]
    assert tokens_of(engine, [[3, 4, 5, *whole[:6]]], greedy)[0][:8] == whole[6:14]  # from a parked prefix


def test_requests_that_cannot_be_guessed_for_are_drawn_as_ever(
    model: Transformer, small: Transformer
) -> None:
    class Even:
        def allowed(self) -> Tensor | None:
            return torch.arange(61) % 2 == 0

        def accept(self, token: int) -> bool:
            return token % 2 == 0

    def ask(engine: Engine) -> list[list[int]]:
        common = {"seed": 4, "max_tokens": 9}
        asked = [
            engine.submit([7, 8], SamplingParams(**common), logits_mask=Even(), path=(0,)),
            engine.submit([7, 8], SamplingParams(**common, frequency_penalty=1.0), path=(1,)),
            engine.submit(
                [7, 8], SamplingParams(**common, min_tokens=5, stop_ids=frozenset(range(30))), path=(2,)
            ),
            engine.submit([7, 8] * 9, SamplingParams(temperature=0, max_tokens=9), path=(3,)),
        ]
        events = run(engine)
        return [[event.token for event in events[handle]] for handle in asked]

    mixed = Engine(model, max_slots=4, small=small)
    assert ask(mixed) == ask(Engine(model, max_slots=4))
    assert mixed.speculator is not None
    assert mixed.speculator.guessed > 0


def test_cancelling_and_new_weights_drop_what_is_left(model: Transformer) -> None:
    engine = Engine(model, max_slots=2, small=model, guesses=4)
    first = engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=30))
    second = engine.submit([4, 5], SamplingParams(temperature=0, max_tokens=30))
    engine.step()
    engine.cancel(first)
    with torch.inference_mode():
        assert engine.advance() is not None  # a pass; four more tokens wait
    assert engine.speculator is not None
    assert engine.speculator.more
    engine.set_weights(1)
    assert not engine.speculator.more
    events = run(engine)
    assert [event.finish for event in events[first]] == ["cancelled"]
    assert all(event.weight_version == 1 for event in events[second])
    assert events[second][-1].finish == "length"


def test_models_that_do_not_fit_together_are_refused(model: Transformer, make_model: MakeModel) -> None:
    with pytest.raises(UsageError, match="same tokenizer"):
        Engine(model, small=make_model(vocab_size=60))
    with pytest.raises(UsageError, match="reaches as far"):
        Engine(model, small=make_model(context=20))
    with pytest.raises(UsageError, match="not both"):
        Engine(model, small=model, batch_invariant=True)
    with pytest.raises(UsageError, match="guesses"):
        Engine(model, small=model, guesses=0)
