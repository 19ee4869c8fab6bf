"""Bits per byte against hand calculation and the slow obvious version."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tests.tokenizer.styles import STYLES, make

from ziggurat.errors import DataError
from ziggurat.evaluation.bits import score_texts, windows
from ziggurat.model.presets import sized
from ziggurat.model.transformer import Transformer
from ziggurat.tokenizer.bpe import Tokenizer

TEXTS = [
    "the cat sat on the mat and the dog sat on the cat",
    "老街的猫在老街",
    "a",
    "the dog, the cat, the mat. " * 6,
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS * 3, 300)


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    return Transformer(
        sized(layers=1, d_model=32, vocab_size=tokenizer.vocab_size, context=16, d_head=16), seed=0
    )


@pytest.mark.parametrize(("context", "stride"), [(6, 6), (6, 3), (6, 1), (5, 2)])
@pytest.mark.parametrize("length", [2, 6, 7, 8, 20])
def test_windows_predict_every_id_but_the_first_once(context: int, stride: int, length: int) -> None:
    ids = list(range(length))
    seen: list[int] = []
    for window in windows(ids, context, stride):
        assert len(window.ids) <= context + 1
        seen += window.ids[1 + window.skip :].tolist()
        if seen[0] != window.ids[1 + window.skip]:
            assert window.skip >= context - stride
    assert seen == ids[1:]


def test_a_model_that_knows_nothing_needs_log2_v_bits_a_token(tokenizer: Tokenizer) -> None:
    model = Transformer(sized(layers=1, d_model=32, vocab_size=tokenizer.vocab_size, context=16, d_head=16))
    with torch.no_grad():
        model.embedding.weight.zero_()
    tokens = sum(len(ids) for ids in tokenizer.encode_batch(TEXTS))
    expected = tokens * math.log2(tokenizer.vocab_size) / sum(len(t.encode()) for t in TEXTS)
    assert score_texts(model, tokenizer, TEXTS).bits_per_byte == pytest.approx(expected, rel=1e-5)


def test_batched_windows_equal_one_document_at_a_time(model: Transformer, tokenizer: Tokenizer) -> None:
    nll = 0.0
    for text in TEXTS:
        for window in windows([tokenizer.endoftext_id, *tokenizer.encode(text)], 16, 16):
            ids = torch.from_numpy(window.ids)[None]
            with torch.no_grad():
                logp = model(ids[:, :-1]).log_softmax(-1)[0].gather(1, ids[0, 1:, None])[:, 0]
            nll -= float(logp[window.skip :].sum())
    score = score_texts(model, tokenizer, TEXTS, batch_tokens=40)
    assert score.nll_nats == pytest.approx(nll, rel=1e-5)
    assert score.characters == sum(map(len, TEXTS))


def test_scoring_leaves_the_model_in_training_mode(model: Transformer, tokenizer: Tokenizer) -> None:
    model.train()
    score_texts(model, tokenizer, TEXTS)
    assert model.training


def test_no_text_is_a_sentence(model: Transformer, tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no text to score"):
        score_texts(model, tokenizer, ["", ""])


def test_a_text_begins_as_the_source_begins_it(tmp_path: Path) -> None:
    """LLaMA's begin token stands before the first token of a text; it was the end token."""
    tokenizer = Tokenizer.load(make(tmp_path, STYLES["llama2"]))
    shape = sized(layers=1, d_model=32, vocab_size=tokenizer.vocab_size, context=16, d_head=16)
    small = Transformer(shape, seed=0)
    assert tokenizer.bos_id is not None
    ids = [tokenizer.bos_id, *tokenizer.encode("Yes Two")]
    with torch.no_grad():
        logits = small.logits(small.hidden(torch.tensor([ids[:-1]])))[0]
    nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum")
    assert score_texts(small, tokenizer, ["Yes Two"]).nll_nats == pytest.approx(float(nll), rel=1e-5)
