"""Requests that nobody should send: refused by themselves, or served without harm to any other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ziggurat.engine.engine import Engine
from ziggurat.engine.events import Event
from ziggurat.engine.generate import generate
from ziggurat.engine.params import COLDEST, SamplingParams
from ziggurat.errors import UsageError
from ziggurat.model.transformer import Transformer

MakeModel = Callable[..., Transformer]
V = 61


def run(engine: Engine) -> dict[int, list[Event]]:
    events: dict[int, list[Event]] = {}
    while engine.has_work:
        for event in engine.step():
            events.setdefault(event.handle, []).append(event)
    return events


class Only:
    """A mask that always leaves these tokens, and can follow `patience` of them."""

    def __init__(self, *tokens: int, patience: int = 1000) -> None:
        self.left = torch.zeros(V, dtype=torch.bool)
        self.left[list(tokens)] = True
        self.patience = patience

    def allowed(self) -> torch.Tensor:
        return self.left

    def accept(self, token: int) -> bool:
        self.patience -= 1
        return bool(self.left[token]) and self.patience > 0


@pytest.mark.parametrize("token", [V, 1_000_000])
def test_a_token_that_is_none_cannot_end_an_answer(model: Transformer, token: int) -> None:
    engine = Engine(model, max_slots=2)
    other = engine.submit([1, 2], SamplingParams(temperature=0, max_tokens=4))
    with pytest.raises(UsageError, match="outside the vocabulary of 61"):
        engine.submit([1], SamplingParams(stop_ids=frozenset({token}), min_tokens=1))
    assert len(run(engine)[other]) == 4


@pytest.mark.parametrize("field", ["top_k", "min_tokens", "max_tokens"])
def test_counts_that_no_integer_holds_are_refused(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        SamplingParams(**{field: 2**63})


def test_the_coldest_temperatures_are_greedy(model: Transformer) -> None:
    cold = SamplingParams(temperature=1e-40, max_tokens=6, seed=1)
    greedy = SamplingParams(temperature=0, max_tokens=6)
    assert generate(model, [[1, 2, 3]], cold)[0].ids == generate(model, [[1, 2, 3]], greedy)[0].ids
    assert SamplingParams(temperature=COLDEST).temperature == COLDEST


@pytest.mark.parametrize(
    "rules", [{}, {"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.1}, {"top_p": 0.5, "min_p": 0.2}]
)
@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_what_a_mask_forbids_never_comes_however_unlikely_the_rest(
    model: Transformer, rules: dict[str, float], temperature: float
) -> None:
    """The two tokens that are left are 60 nats below the best: their probabilities are 0 in fp32 when tempered."""
    params = SamplingParams(
        temperature=temperature, seed=3, max_tokens=12, logit_bias=((7, -60.0), (8, -61.0)), **rules
    )
    engine = Engine(model, max_slots=1)
    handle = engine.submit([1, 2, 3], params, logits_mask=Only(7, 8))
    assert {event.token for event in run(engine)[handle]} <= {7, 8}


def test_a_finished_form_ends_before_min_tokens(model: Transformer) -> None:
    for temperature in (0.0, 1.0):
        params = SamplingParams(temperature=temperature, min_tokens=9, max_tokens=12, stop_ids=frozenset({5}))
        engine = Engine(model, max_slots=1)
        handle = engine.submit([1, 2, 3], params, logits_mask=Only(5))
        assert [(e.token, e.finish) for e in run(engine)[handle]] == [(5, "stop")]


def test_a_mask_that_is_lost_ends_its_answer_as_too_long(model: Transformer) -> None:
    engine = Engine(model, max_slots=2)
    lost = engine.submit([1, 2, 3], SamplingParams(seed=1, max_tokens=9), logits_mask=Only(5, 6, patience=3))
    other = engine.submit([1, 2, 3], SamplingParams(seed=1, max_tokens=9))
    events = run(engine)
    assert [event.finish for event in events[lost]] == [None, None, "length"]
    assert len(events[other]) == 9


def test_scores_of_a_prompt_survive_preemption_within_it(model: Transformer) -> None:
    """Prompts are read in small chunks, and one is sent back when it is half read."""
    params = SamplingParams(temperature=0, max_tokens=4, prompt_logprobs=1)
    prompts = [[(3 * i + j) % V for i in range(36)] for j in range(2)]
    alone = []
    for prompt in prompts:
        engine = Engine(model, max_slots=1)
        engine.submit(prompt, params)
        alone.append(run(engine)[0][0].prompt_scores)
    engine = Engine(model, max_slots=2, chunk_flops=1.0)
    first, second = (engine.submit(prompt, params) for prompt in prompts)
    held: list[Event] = []
    while not (
        half := [r for r, d in enumerate(engine.rows.sequences) if d and 0 < len(d.prompt_scores) < 35]
    ):
        held += engine.step()
    engine.waiting.appendleft(engine.rows.preempt(half[0]))
    events = run(engine)
    assert not held
    for handle, scores in ((first, alone[0]), (second, alone[1])):
        found = events[handle][0].prompt_scores
        assert [s.token for s in found] == [s.token for s in scores]
        assert max(abs(a.logprob - b.logprob) for a, b in zip(found, scores, strict=True)) < 1e-4


def test_equal_prompts_of_two_salts_are_computed_twice(model: Transformer) -> None:
    computed = {}
    for salts in (("a", "a"), ("a", "b")):
        engine = Engine(model, max_slots=2, parked=2)
        for salt in salts:
            engine.submit(list(range(30)), SamplingParams(temperature=0, max_tokens=3, cache_salt=salt))
        run(engine)
        computed[salts] = engine.prefiller.computed
    assert computed == {("a", "a"): 29, ("a", "b"): 58}
