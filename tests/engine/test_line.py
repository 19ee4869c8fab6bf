"""Turns in the line: against an obvious slow version, and through the engine."""

from __future__ import annotations

import random

import pytest

from ziggurat.engine.engine import Engine
from ziggurat.engine.line import Line
from ziggurat.engine.params import SamplingParams
from ziggurat.model.transformer import Transformer


def line_of(items: str) -> Line[str]:
    line: Line[str] = Line()
    for item in items.split():
        line.append(item, item[0])
    return line


def drained(line: Line[str]) -> str:
    return " ".join(line.popleft() for _ in range(len(line)))


@pytest.mark.parametrize(
    ("arrived", "served"),
    [
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 a2 a3 a4 b1 c1 b2", "a1 b1 c1 a2 b2 a3 a4"),
        ("b1 a1 a2 b2", "b1 a1 b2 a2"),
        ("", ""),
    ],
)
def test_owners_take_turns(arrived: str, served: str) -> None:
    assert " ".join(line_of(arrived)) == served
    assert drained(line_of(arrived)) == served


def test_who_was_sent_back_comes_first_and_who_comes_again_goes_to_the_end() -> None:
    line = line_of("a1 a2 b1")
    assert line.popleft() == "a1"
    line.append("c1", "c")
    line.append("b2", "b")
    line.appendleft("a1")
    assert line.of("b") == ["b1", "b2"]
    assert drained(line) == "a1 b1 a2 c1 b2"
    with pytest.raises(IndexError, match="the line is empty"):
        line.popleft()


def test_what_leaves_the_line_is_not_served_and_not_counted() -> None:
    line = line_of("a1 b1 a2")
    line.appendleft("z")
    for item in ("z", "b1"):
        line.remove(item)
    assert (len(line), list(line)) == (2, ["a1", "a2"])
    with pytest.raises(ValueError, match="'b1' is not in the line"):
        line.remove("b1")
    line.clear()
    assert (len(line), list(line), bool(line)) == (0, [], False)


def test_random_comings_and_goings_are_those_of_a_slow_version() -> None:
    """The slow one keeps a list of all, searches it, and writes the turns down beside it."""
    draws = random.Random(0)
    line: Line[tuple[str, int]] = Line()
    everybody: list[tuple[str, int]] = []
    turns: list[str] = []
    for i in range(3_000):
        owner = draws.choice("aaaaaabcd")
        if draws.random() < 0.5:
            line.append((owner, i), owner)
            everybody.append((owner, i))
            turns += [owner] * (owner not in turns)
        elif everybody:
            turn = turns.pop(0)
            expected = next(item for item in everybody if item[0] == turn)
            everybody.remove(expected)
            turns += [turn] * any(item[0] == turn for item in everybody)
            assert next(iter(line)) == expected
            assert line.popleft() == expected
        assert len(line) == len(everybody)


def test_one_keys_many_answers_do_not_stand_before_anothers_one(model: Transformer) -> None:
    engine = Engine(model, max_slots=1)
    many = engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=2, n=5, cache_salt="a"))
    one = engine.submit([1, 2, 3], SamplingParams(temperature=0, max_tokens=2, cache_salt="b"))
    ended: list[int] = []
    while engine.has_work:
        ended += [event.handle for event in engine.step() if event.finish is not None]
    assert ended == [many, one, many, many, many, many]
