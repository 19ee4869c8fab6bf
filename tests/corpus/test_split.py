"""The one split by hash: runs that exist depend on its sides."""

from __future__ import annotations

from ziggurat.corpus.split import FEW, falls_below, first_question, split, text_hash
from ziggurat.records import Message


def test_the_sides_are_those_of_earlier_runs() -> None:
    held = [i for i in range(100) if falls_below(f"text {i}", 0.1)]
    assert held == [12, 13, 19, 20, 26, 30, 43, 63, 64, 66, 85, 99]
    assert [i for i in range(40) if text_hash(f"text {i}")[0] % 5 == 0] == [0, 4, 11, 23, 29, 31, 35]
    assert falls_below("\ud83d", 1.0)


def test_equal_texts_are_on_one_side_and_something_is_left_to_learn_from() -> None:
    records = [(i, f"text {i % 50}") for i in range(200)]
    learn, held = split(records, lambda one: one[1], 0.2)
    assert len(learn) + len(held) == 200
    assert not {text for _, text in learn} & {text for _, text in held}
    assert split(records, lambda one: one[1], 1.0) == (records, [])
    assert split(records[: FEW - 1], lambda one: one[1], 0.5)[1] == []
    assert split(records, lambda one: one[1], 0.0)[1] == []


def test_the_first_question_is_the_first_user_message() -> None:
    talk = [
        Message(role=role, content=text) for role, text in (("system", "s"), ("user", "q"), ("user", "r"))
    ]
    assert first_question(talk) == "q"
    assert first_question(talk[:1]) == ""
