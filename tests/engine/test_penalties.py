"""Penalties and biases by hand, and through the engine."""

from __future__ import annotations

import pytest
import torch

from ziggurat.engine.engine import Engine
from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.engine.penalties import adjust
from ziggurat.errors import UsageError
from ziggurat.model.transformer import Transformer


def test_each_penalty_by_hand() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0, 0.0])
    params = SamplingParams(
        repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25, logit_bias=((3, 1.5),)
    )
    # bias: [2, -2, 1, 1.5]; repetition on prompt {1} and completion {0, 3}: [1, -4, 1, 0.75]
    # presence and frequency on the completion (0 twice, 3 once): [1 - 1, -4, 1, 0.75 - 0.75]
    assert adjust(logits, params, [1], [0, 3, 0]).tolist() == [0.0, -4.0, 1.0, 0.0]
    assert logits.tolist() == [2.0, -2.0, 1.0, 0.0]


def test_a_bias_of_a_hundred_decides_and_of_minus_a_hundred_forbids(model: Transformer) -> None:
    forced = SamplingParams(temperature=0, max_tokens=5, logit_bias=((17, 100.0),))
    assert generate(model, [[1, 2, 3]], forced)[0].ids == [17] * 5
    plain = generate(model, [[1, 2, 3]], SamplingParams(temperature=0, max_tokens=5))[0].ids
    without = SamplingParams(temperature=0, max_tokens=5, logit_bias=((plain[0], -100.0),))
    assert plain[0] not in generate(model, [[1, 2, 3]], without)[0].ids


def test_a_presence_penalty_ends_repetition(model: Transformer) -> None:
    forced = ((17, 100.0), (18, 100.0), (19, 100.0))
    params = SamplingParams(temperature=0, max_tokens=3, presence_penalty=60.0, logit_bias=forced)
    assert sorted(generate(model, [[1, 2, 3]], params)[0].ids) == [17, 18, 19]


def test_neighbours_and_reported_logprobs_are_untouched(model: Transformer) -> None:
    engine = Engine(model, max_slots=2)
    biased = engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=1, logit_bias=((17, 100.0),)))
    plain = engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=1))
    events = {event.handle: event for event in engine.step()}
    with torch.no_grad():
        logprobs = model(torch.tensor([[1, 2, 3]]))[0, -1].log_softmax(-1)
    assert events[biased].token == 17
    assert events[biased].logprob == pytest.approx(float(logprobs[17]), abs=1e-4)
    assert events[plain].token == int(logprobs.argmax())


def test_a_bias_of_a_token_that_is_none_is_refused(model: Transformer) -> None:
    with pytest.raises(UsageError, match="logit_bias names token 61 and the model has 61 tokens"):
        Engine(model).submit([1], SamplingParams(logit_bias=((61, 1.0),)))
