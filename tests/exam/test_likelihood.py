"""Log-likelihoods with shared prefixes equal those of the slow obvious way: one forward pass of `transformers` each."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tests.model.worlds import CONTEXT, VOCABULARY, theirs
from tests.tokenizer.styles import STYLES, make

from ziggurat.dialogue.language_model import LanguageModel
from ziggurat.errors import UsageError
from ziggurat.exam import sharing
from ziggurat.exam.candidate import Ask
from ziggurat.exam.candidates.local import load
from ziggurat.exam.likelihood import Pair, encode_pairs, score
from ziggurat.exam.sharing import Scored, Trunk, plan
from ziggurat.model.config import ModelConfig
from ziggurat.model.hub import load_model
from ziggurat.model.prefix import PrefixConfig, prefixed
from ziggurat.model.transformer import Transformer
from ziggurat.records import Message
from ziggurat.tokenizer.bpe import Tokenizer

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


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "qwen3-moe-window"])
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


def test_virtual_tokens_stand_before_shared_prefixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with prefix tuning attends to its virtual tokens from every piece."""
    monkeypatch.setattr(sharing, "WORTH_TRUNK", 8)
    theirs("gpt2", tmp_path)
    tuned = prefixed(load_model(tmp_path).eval(), PrefixConfig(tokens=3), "prefix", seed=1)
    model = cast(LanguageModel, SimpleNamespace(model=tuned, context=tuned.config.context))
    pairs = [pair for pair in questions(2, 21, 4) if len(pair[0]) + len(pair[1]) <= tuned.config.context]
    for one, pair in zip(score(model, pairs), pairs, strict=True):
        nats, _ = slowly(lambda ids: SimpleNamespace(logits=tuned(ids)), pair)
        assert abs(one.nats - nats) <= CLOSE * one.tokens


def pieces(trunk: Trunk) -> list[int]:
    """The tokens of every piece that is computed."""
    own = [] if trunk.piece is None else [len(trunk.piece.ids)]
    return own + [len(row.ids) for row in trunk.rows] + [n for each in trunk.trunks for n in pieces(each)]


def test_what_questions_share_is_computed_once() -> None:
    """300 tokens of examples, 3 questions of 30 own tokens, 4 choices of 5 tokens that begin with one token alike.

    The last token of a choice is only predicted, so a question adds 30 + 1 + 4 * 3 = 43 tokens: 429 in all, where
    every request alone would take 12 * (300 + 30 + 4) = 4,008. Letters as choices add none: 300 + 3 * 30.
    """
    examples = [1] * 300
    asked = [[*examples, *(10 * q + i for i in range(30))] for q in range(1, 4)]
    texts = [Scored([*ids, 7, *[100 + c] * 3, 0], len(ids)) for ids in asked for c in range(4)]
    tokens = pieces(plan(texts))
    assert sum(tokens) == 300 + 3 * 43
    letters = [Scored([*ids, letter], len(ids)) for ids in asked for letter in range(4)]
    assert sum(pieces(plan(letters))) == 300 + 3 * 30
    many = [Scored([*examples, 50 + q, *[q] * 40, c], 341) for q in range(40) for c in range(4)]
    assert sorted(pieces(plan(many))) == [41] * 40 + [300], "enough questions are rows behind a trunk"


def test_impossible_continuations_are_one_sentence(tmp_path: Path) -> None:
    theirs("gpt2", tmp_path)
    model = bare(tmp_path)
    with pytest.raises(UsageError, match="continuation 2 has no tokens of its own"):
        score(model, [([1], [2]), ([1], [])])
    with pytest.raises(
        UsageError, match=f"continuation 1 has {CONTEXT + 1} tokens and the model's context is {CONTEXT}"
    ):
        score(model, [([1], [2] * (CONTEXT + 1))])


def test_a_conversation_is_rendered_and_the_answer_follows(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(make(tmp_path, STYLES["chatml"]))
    config = ModelConfig(
        layers=1,
        d_model=16,
        heads=2,
        kv_heads=1,
        d_head=8,
        d_ff=8,
        vocab_size=tokenizer.vocab_size,
        context=64,
    )
    model = LanguageModel(Transformer(config), tokenizer)
    asked = [Message(role="user", content="Which?")]
    rendered = tokenizer.encode_with_specials("<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n")
    assert encode_pairs(model, [(asked, [" A", "B b"])]) == [
        (rendered, tokenizer.encode("A")),
        (rendered, tokenizer.encode("B b")),
    ]


def test_prompts_that_lose_tokens_are_counted(tiny_folder: Path) -> None:
    """The context is 96: a short question loses nothing, a long one does, whatever its choices."""
    candidate = load(str(tiny_folder))
    candidate.likelihoods([("short", [" a", " b"]), ("1 2 3 " * 60, [" a", " b"])])
    assert candidate.cut == {1}
    candidate.continuations(["1 2 3 " * 60, "short"], Ask(max_tokens=1))
    assert candidate.cut == {0}
