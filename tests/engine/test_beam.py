"""Beam search against enumeration of every completion."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch

from ziggurat.engine.events import Completion
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]

STOP = 0


def total(completion: Completion) -> float:
    return sum(completion.logprobs)


@torch.no_grad()
def all_completions(model: Transformer, prompt: list[int], length: int) -> dict[tuple[int, ...], float]:
    """Every completion of a 5-token vocabulary that stops at STOP or at `length`, with its log-probability."""
    found: dict[tuple[int, ...], float] = {}
    tails = list(itertools.product(range(5), repeat=length))
    every = model(torch.tensor([[*prompt, *tail] for tail in tails])).log_softmax(-1)
    for tail, logprobs in zip(tails, every, strict=True):
        end = tail.index(STOP) + 1 if STOP in tail else length
        found[tail[:end]] = sum(float(logprobs[len(prompt) - 1 + i, tail[i]]) for i in range(end))
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wide_beam_finds_what_enumeration_finds(
    make_model: MakeModel, seed: int, length_penalty: float
) -> None:
    model = make_model(vocab_size=5, seed=seed, gain=10)
    params = SamplingParams(
        beam=25, n=4, max_tokens=3, stop_ids=frozenset({STOP}), length_penalty=length_penalty
    )
    truth = all_completions(model, [1, 2], 3)
    ranked = sorted(truth, key=lambda ids: -truth[ids] / ((5 + len(ids)) / 6) ** length_penalty)
    found = generate(model, [[1, 2]], params)
    assert [tuple(c.ids) for c in found] == ranked[:4]
    assert [total(c) for c in found] == pytest.approx([truth[ids] for ids in ranked[:4]], abs=1e-4)
    assert all((c.finish == "stop") == (c.ids[-1] == STOP) for c in found)


@pytest.mark.parametrize("seed", range(3))
def test_a_beam_of_one_is_greedy(make_model: MakeModel, seed: int) -> None:
    model = make_model(seed=seed)
    stops = frozenset({3, 9, 14, 30})
    greedy = generate(model, [[1, 2, 3]], SamplingParams(temperature=0, max_tokens=10, stop_ids=stops))[0]
    beam = generate(model, [[1, 2, 3]], SamplingParams(beam=1, max_tokens=10, stop_ids=stops))[0]
    assert beam.ids == greedy.ids
    assert beam.finish == greedy.finish


def test_a_beam_is_never_less_likely_than_greedy(make_model: MakeModel) -> None:
    """Plain beam search loses here on some of these 40 models: greedy's beginning falls out of the beam."""
    better = 0
    for seed in range(40):
        model = make_model(vocab_size=23, seed=seed, gain=8, layers=1)
        stops = frozenset({1, 2, 3})
        greedy = generate(model, [[5, 6]], SamplingParams(temperature=0, max_tokens=8, stop_ids=stops))[0]
        beam = generate(model, [[5, 6]], SamplingParams(beam=2, max_tokens=8, stop_ids=stops))[0]
        assert total(beam) >= total(greedy) - 1e-4
        better += total(beam) > total(greedy) + 1e-3
    assert better >= 10


def test_length_penalty_makes_longer_completions_win(make_model: MakeModel) -> None:
    """With penalty 0 a sum of log-probabilities favours short ones (REQUIREMENTS A045)."""
    lengths = {}
    for penalty in (0.0, 2.0):
        models = [make_model(vocab_size=11, seed=seed, gain=4, layers=1) for seed in range(12)]
        params = SamplingParams(beam=4, max_tokens=10, stop_ids=frozenset({1, 2}), length_penalty=penalty)
        lengths[penalty] = sum(len(generate(model, [[5, 6]], params)[0].ids) for model in models)
    assert lengths[2.0] > lengths[0.0]


def test_min_tokens_holds_for_beams(make_model: MakeModel) -> None:
    model = make_model(vocab_size=5, gain=4)
    params = SamplingParams(beam=3, max_tokens=4, min_tokens=3, stop_ids=frozenset({0, 1, 2}))
    assert len(generate(model, [[3]], params)[0].ids) == 4


def test_more_completions_than_beams_are_refused(make_model: MakeModel) -> None:
    with pytest.raises(UsageError, match="n is 3 and the beam 2"):
        generate(make_model(), [[1]], SamplingParams(beam=2, n=3))
