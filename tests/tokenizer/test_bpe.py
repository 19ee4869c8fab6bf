"""The tokenizer: round trips, no special from text, hand-worked merges, byte fallback, foreign folders."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken

from ziggurat.errors import ConfigError, ModelFolderError
from ziggurat.tokenizer.bpe import Tokenizer
from ziggurat.tokenizer.making import SMALLEST_VOCABULARY, SPECIALS

TEXT = ["The baker sells bread and rolls. 面包师傅卖面包。", "low low low newer newer wider lowest"] * 20
TRAINED = Tokenizer.train(TEXT, 400)
CHARACTERS = Tokenizer.characters("".join(TEXT))


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",))))
@pytest.mark.parametrize("tokenizer", [TRAINED, CHARACTERS], ids=["bpe", "characters"])
def test_every_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(map(tokenizer.token_bytes, ids)).decode() == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*SPECIALS, "<|", "|>", "end", " ", "x", "<"]), max_size=12).map("".join))
@pytest.mark.parametrize("tokenizer", [TRAINED, CHARACTERS], ids=["bpe", "characters"])
def test_text_never_becomes_a_special_token(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert not tokenizer.special_ids & set(ids)
    assert tokenizer.decode(ids) == text


def test_only_the_raw_door_parses_specials() -> None:
    assert TRAINED.encode_with_specials("<|assistant|>")[0] == SPECIALS.index("<|assistant|>")
    assert len(TRAINED.encode("<|assistant|>")) > 1


def test_specials_have_the_first_ids() -> None:
    assert [TRAINED.id_of(special) for special in SPECIALS] == list(range(7))
    assert (TRAINED.endoftext_id, TRAINED.pad_id, TRAINED.end_id) == (0, 1, 6)


def test_most_frequent_pair_merges_first() -> None:
    """ "aaabdaaabac": the pair aa occurs most often, so its token is the first after the 256 bytes."""
    tokenizer = Tokenizer.train(["aaabdaaabac"], SMALLEST_VOCABULARY + 1)
    assert tokenizer.token_bytes(SMALLEST_VOCABULARY) == b"aa"
    assert [tokenizer.piece(id) for id in tokenizer.encode("aaabdaaabac")] == [
        "aa",
        "a",
        "b",
        "d",
        "aa",
        "a",
        "b",
        "a",
        "c",
    ]


def test_unseen_word_is_made_of_known_parts() -> None:
    """Having met "low" and "newer", "lower" is "low" + "er" and no unknown token."""
    text = ["low" for _ in range(50)] + ["newer" for _ in range(40)] + ["wider", "er"] * 30
    tokenizer = Tokenizer.train(text, SMALLEST_VOCABULARY + 5)
    assert [tokenizer.piece(id) for id in tokenizer.encode("lower")] == ["low", "er"]


def test_digits_are_single_tokens() -> None:
    tokenizer = Tokenizer.train(["1234 1234 1234"] * 100, 300)
    assert [tokenizer.piece(id) for id in tokenizer.encode("1234")] == ["1", "2", "3", "4"]


def test_strange_character_falls_back_to_its_bytes() -> None:
    """The rare character of the verse becomes <0xE8> <0x8C> <0x9D>: 14 + 3 = 17 tokens."""
    verse = "杂申椒与菌桂兮，岂维纫夫蕙茝。"
    tokenizer = Tokenizer.characters(verse.replace("茝", ""))
    ids = tokenizer.encode(verse)
    assert len(ids) == 17
    assert [tokenizer.piece(id) for id in tokenizer.encode("茝")] == ["<0xE8>", "<0x8C>", "<0x9D>"]
    assert tokenizer.decode(ids) == verse


def test_characters_without_fallback_refuse_a_strange_one() -> None:
    tokenizer = Tokenizer.characters("abc", byte_fallback=False)
    assert tokenizer.vocab_size == len(SPECIALS) + 3
    with pytest.raises(ConfigError, match="no 'd'"):
        tokenizer.encode("abcd")


def test_same_text_same_tokenizer() -> None:
    assert Tokenizer.train(TEXT, 400).fingerprint == TRAINED.fingerprint != CHARACTERS.fingerprint


@pytest.mark.parametrize("tokenizer", [TRAINED, CHARACTERS], ids=["bpe", "characters"])
def test_saved_and_loaded_are_one(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("Bread! 面包 茝") == tokenizer.encode("Bread! 面包 茝")
    assert loaded.chat_template == tokenizer.chat_template


def test_half_a_surrogate_pair_is_not_a_crash() -> None:
    assert TRAINED.decode(TRAINED.encode(json.loads('"\\ud83d!"'))) == "\ufffd!"


def test_too_small_a_vocabulary_is_refused() -> None:
    with pytest.raises(ConfigError, match="need 263"):
        Tokenizer.train(TEXT, 100)


def test_folder_without_tokenizer_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelFolderError, match="not a tokenizer that can be read"):
        Tokenizer.load(tmp_path)


def test_two_megabytes_train_in_seconds(corpora: Path) -> None:
    """Measured at 0.8 s on 2 free cores; the bound leaves room for a busy machine."""
    text = (corpora / "shakespeare.txt").read_text() + (corpora / "wiki_demo.txt").read_text()
    t0 = time.monotonic()
    Tokenizer.train(text.split("\n\n"), 2048)
    assert time.monotonic() - t0 < 20


def test_foreign_specials_are_guarded_and_its_text_tokens_kept(foreign: Callable[..., Tokenizer]) -> None:
    """Added tokens that are plain text (runs of spaces) keep their ids; <tool_call> marks structure."""
    extra = [AddedToken("    ", special=False), AddedToken("<tool_call>", special=False)]
    tokenizer = foreign(extra)
    spaces, call = tokenizer.id_of("    "), tokenizer.id_of("<tool_call>")
    assert tokenizer.encode("    x")[0] == spaces
    assert call not in tokenizer.encode("<tool_call>")
    assert tokenizer.end_id == tokenizer.id_of("<|im_end|>")
    assert tokenizer.decode(tokenizer.encode("<tool_call><|im_end|>    x")) == "<tool_call><|im_end|>    x"
