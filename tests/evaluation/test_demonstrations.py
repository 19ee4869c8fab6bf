"""Teacher-forced exact match must be what greedy decoding writes."""

from __future__ import annotations

import pytest

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.errors import DataError
from ziggurat.evaluation.demonstrations import score_demonstrations
from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.template import Rendered

GREEDY = SamplingParams(temperature=0.0, max_tokens=4)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(sized(layers=2, d_model=32, vocab_size=60, context=32, d_head=16), seed=4)


def test_what_greedy_decoding_writes_is_an_exact_match(model: Transformer) -> None:
    prompts = [[1, 2, 3], [9, 8, 7, 6, 5], [40]]
    answers = [c.ids for c in generate(model, prompts, GREEDY)]
    right = [
        Rendered(p + a, [False] * len(p) + [True] * len(a)) for p, a in zip(prompts, answers, strict=True)
    ]
    score = score_demonstrations(model, right)
    assert (score.exact_match, score.token_accuracy, score.turns) == (1.0, 1.0, 3)


def test_one_wrong_token_spoils_its_turn_only(model: Transformer) -> None:
    """Two turns of one conversation; the last token of the second is changed."""
    first = generate(model, [[1, 2, 3]], GREEDY)[0].ids
    second_prompt = [1, 2, 3, *first, 11, 12]
    second = generate(model, [second_prompt], GREEDY)[0].ids
    wrong = [*second[:-1], (second[-1] + 1) % 60]
    mask = [False] * 3 + [True] * 4 + [False] * 2 + [True] * 4
    score = score_demonstrations(model, [Rendered(second_prompt + wrong, mask)], batch_tokens=8)
    assert (score.turns, score.exact_match, score.token_accuracy) == (2, 0.5, 7 / 8)


def test_conversations_beyond_the_context_are_counted_not_cut(model: Transformer) -> None:
    talks = [Rendered([1, 2, 3], [False, True, True]), Rendered([1] * 40, [True] * 40)]
    assert score_demonstrations(model, talks).left_out == 1
    with pytest.raises(DataError, match="all 1 demonstrations are longer"):
        score_demonstrations(model, talks[1:])
