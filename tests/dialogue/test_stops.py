"""Stop strings across every way of cutting the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggurat.dialogue.calls import CallMarks
from ziggurat.dialogue.stops import StopAtStrings, StopStrings
from ziggurat.errors import UsageError
from ziggurat.tokenizer.bpe import Tokenizer


def shown(pieces: list[str], strings: list[str]) -> str:
    stops = StopStrings(strings)
    return "".join(stops.push(piece) for piece in pieces) + stops.flush()


@given(st.text("ab.", max_size=30), st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3), st.data())
def test_text_ends_before_the_first_stop_however_it_arrives(
    text: str, strings: list[str], data: st.DataObject
) -> None:
    """The plain way: look at the text up to each character, and cut at the first moment a string is whole."""
    expected = text
    for end in range(len(text) + 1):
        found = [text[:end].find(s) for s in strings if s in text[:end]]
        if found:
            expected = text[: min(found)]
            break
    assert shown(list(text), strings) == expected
    if not strings or expected == text:
        cut = data.draw(st.integers(0, len(text)))
        assert shown([text[:cut], text[cut:]], strings) == expected


def test_what_may_be_a_stop_is_held_back_and_no_more() -> None:
    stops = StopStrings(["\nUser:"])
    assert stops.push("Good day\nUs") == "Good day"
    assert stops.push("ual things") == "\nUsual things"
    assert stops.push("\nUser: and") == ""
    assert stops.hit
    assert stops.push("more") == ""
    assert stops.flush() == ""


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        StopStrings(["a", ""])


def test_in_a_tool_call_no_stop_string_is_looked_for(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("The baker by the canal")
    rule = StopAtStrings(tokenizer, ["canal"], marks=CallMarks("", open_id=ids[1]))
    assert not any(rule.accept(id) for id in ids)


def test_the_rule_over_ids_fires_with_the_token_that_completes_it(tokenizer: Tokenizer) -> None:
    rule = StopAtStrings(tokenizer, ["canal"])
    ids = tokenizer.encode("The baker by the canal")
    assert [rule.accept(id) for id in ids] == [False] * (len(ids) - 1) + [True]
