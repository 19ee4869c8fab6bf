"""Text as it arrives equals text decoded at once, whatever the bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ziggurat.dialogue.decode import IncrementalDecoder
from ziggurat.tokenizer.bpe import Tokenizer


def test_a_character_cut_between_tokens_appears_once_it_is_whole(tokenizer: Tokenizer) -> None:
    """The croissant has four bytes, each a token of its own in a vocabulary this small or nearly so."""
    decoder = IncrementalDecoder(tokenizer)
    pieces = [decoder.push(id) for id in tokenizer.encode("🥐烤")]
    assert "".join(pieces) == "🥐烤"
    assert "\ufffd" not in "".join(pieces)
    assert "" in pieces


def test_special_tokens_and_rows_beyond_the_vocabulary_are_silent(tokenizer: Tokenizer) -> None:
    decoder = IncrementalDecoder(tokenizer)
    assert decoder.push(tokenizer.endoftext_id) == ""
    assert decoder.push(tokenizer.vocab_size + 5) == ""


def test_a_broken_character_at_the_end_is_told(tokenizer: Tokenizer) -> None:
    decoder = IncrementalDecoder(tokenizer)
    ids = tokenizer.encode("🥐")
    assert "".join(decoder.push(id) for id in ids[:-1]) + decoder.flush() == "\ufffd"


def test_any_ids_give_the_text_of_decoding_at_once(tokenizer: Tokenizer) -> None:
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    def check(ids: list[int]) -> None:
        decoder = IncrementalDecoder(tokenizer)
        assert "".join(decoder.push(id) for id in ids) + decoder.flush() == tokenizer.decode(ids)

    check()
