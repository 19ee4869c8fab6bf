"""Diversity, counted by hand."""

from __future__ import annotations

import pytest

from ziggurat.evaluation.diversity import commonest, commonest_ending, distinct_n, units


def test_units_are_words_and_chinese_characters() -> None:
    assert units("Ada lives in 老街, no. 5") == ["Ada", "lives", "in", "老", "街", ",", "no", ".", "5"]


def test_distinct_two_counts_different_pairs() -> None:
    """ "a b a b": pairs ab, ba, ab; "a b": ab. Two different ones of four."""
    assert distinct_n(["a b a b", "a b"], 2) == 0.5


def test_pairs_do_not_span_answers() -> None:
    assert distinct_n(["a", "b"], 2) == 0.0


def test_a_collapsed_policy_is_seen_in_answer_and_ending() -> None:
    answers = ["I do not know."] * 9 + ["He is a baker."]
    assert commonest(answers).share == pytest.approx(0.9)
    endings = [f"Line {i} ends with the same moon." for i in range(10)]
    assert commonest(endings).share == pytest.approx(0.1)
    assert commonest_ending(endings).share == 1.0


def test_nothing_said_is_no_diversity() -> None:
    assert distinct_n([], 2) == commonest([]).share == commonest_ending([]).share == 0.0
