"""Log-likelihoods with shared prefixes equal those of the slow obvious way: one forward pass of `transformers` each."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.model.worlds import CONTEXT, VOCABULARY, theirs

from ziggurat.dialogue.language_model import LanguageModel
from ziggurat.errors import UsageError
from ziggurat.exam import packed, sharing
from ziggurat.exam.likelihood import Pair, score
from ziggurat.exam.sharing import Scored, Trunk, plan
from ziggurat.model.hub import load_model

CLOSE = 1e-4  # nats a token


def bare(folder: Path) -> LanguageModel:
    """A model without a tokenizer."""
    model = load_model(folder).eval()
    return cast(LanguageModel, SimpleNamespace(model=model, context=model.config.context))


def slowly(model: Any, pair: Pair) -> tuple[float, bool]:
    """The harness's arithmetic for one request."""
    context, continuation = pair
    ids = torch.tensor([[*context, *continuation][-(CONTEXT + 1) :]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids[:, :-1]).logits[0, -len(continuation) :].double(), -1)
    wanted = ids[0, -len(continuation) :]
    return float(logprobs.gather(1, wanted[:, None]).sum()), bool((logprobs.argmax(-1) == wanted).all())


def questions(seed: int, examples: int, count: int) -> list[Pair]:
    """`count` questions of 4 continuations after the same `examples` tokens; some begin alike, some are single."""
    draw = random.Random(seed)

    def ids(n: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(n)]

    front, pairs = ids(examples), []
    for _ in range(count):
        question, start = front + ids(draw.randint(1, 9)), ids(draw.randint(0, 3))
        pairs += [(question, start + ids(draw.randint(1, 5))) for _ in range(3)]
        pairs.append((question, pairs[-1][1][:1]))
    return [*pairs, (front, ids(2)), (ids(1), ids(1)), (ids(3), ids(CONTEXT)), (ids(CONTEXT + 9), ids(4))]


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "mistral-window", "qwen3-moe-window", "neox"])
@pytest.mark.parametrize("trunk", [8, 10**9])
def test_shared_prefixes_change_nothing(
    name: str, trunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 8 tokens end within the shared examples; with `trunk` 8 there are trunks behind trunks."""
    monkeypatch.setattr(sharing, "WORTH_TRUNK", trunk)
    their_model, _, _ = theirs(name, tmp_path)
    pairs = questions(1, 21, 9)
    found = score(bare(tmp_path), pairs)
    for one, pair in zip(found, pairs, strict=True):
        nats, greedy = slowly(their_model, pair)
        assert one.tokens == len(pair[1])
        assert abs(one.nats - nats) <= CLOSE * one.tokens
        assert one.greedy == greedy
