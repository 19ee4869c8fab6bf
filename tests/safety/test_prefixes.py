"""An expression for the beginnings of another one's matches, held against RE2 itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ziggurat.safety.prefixes import beginnings
from ziggurat.safety.rules import compiled_expression
from ziggurat.safety.sources import builtin_rules

EXPRESSIONS = [
    (r"\byou (should|must)( just)? die\b", "you should just die"),
    (r"(ab|c){2,3}d+e?", "ababcdde"),
    (r"a[^.!?]{0,5}b", "axxxxb"),
    (r"\d{3}-\w+?", "123-ab"),
    (r"你(应该|可以)?去死", "你应该去死"),
    (r"x*y+z", "xxyyz"),
    (r"[\]a-c\d]+!", "]a1!"),
    (r"\x{6b7b}|\p{Han}{3}", "死"),
]


@pytest.mark.parametrize(("expression", "match"), EXPRESSIONS)
def test_every_beginning_of_a_match_waits(expression: str, match: str) -> None:
    begun = beginnings(expression)
    assert begun is not None
    waits = compiled_expression(rf"(?:{begun})\z")
    assert compiled_expression(expression).fullmatch(match)
    for length in range(1, len(match)):
        hit = waits.search("... " + match[:length])
        assert hit.start() <= 4, (match[:length], begun)


def test_what_cannot_become_a_match_does_not_wait() -> None:
    waits = compiled_expression(rf"(?:{beginnings(r'kill (them|him)')})\z")
    assert waits.search("a killer").start() == len("a killer")
    assert waits.search("kill th").start() == 0
    assert waits.search("kill tx").start() == len("kill tx")


@pytest.mark.parametrize(
    "expression", [r"^a", r"a$", r"(?i)a", r"(?P<n>a)", r"a(", r"\Qa\E", r"(?:a{1,1000}){50}b" * 40]
)
def test_what_is_not_read_is_not_guessed(expression: str) -> None:
    begun = beginnings(expression)
    assert begun is None or len(begun) <= 60_000


words = st.text(alphabet="abc ", min_size=1, max_size=4)
expressions = st.recursive(
    words | st.sampled_from(["[ab]", r"\w", "[^c]"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]})(?:{two[1]})"),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{1,3}", "{0,2}"])).map(
            lambda t: f"(?:{t[0]}){t[1]}"
        ),
    ),
    max_leaves=6,
)


@given(expressions, st.text(alphabet="abc ", max_size=14), st.integers(0, 14))
def test_no_match_is_missed_whatever_the_expression(expression: str, text: str, cut: int) -> None:
    """If the whole text contains a match that crosses the cut, then its part before the cut waits."""
    begun = beginnings(expression)
    assert begun is not None
    hit = compiled_expression(expression).search(text)
    if hit is None or not hit.start() < cut < hit.end():
        return
    assert compiled_expression(rf"(?:{begun})\z").search(text[:cut]).start() <= hit.start()


def test_the_built_in_rules_for_answers_are_all_read() -> None:
    """Otherwise their streams would wait for a fixed number of characters."""
    for rule in builtin_rules():
        if rule.stage != "before":
            assert beginnings(rule.expression) is not None, rule.id
            assert rule.unless is None or beginnings(rule.unless) is not None, rule.id
        if rule.unfit is not None:
            assert beginnings(rule.unfit) is not None, rule.id
