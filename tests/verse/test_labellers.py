"""The taste of the labellers: what it likes, and that it notices every known way to cheat."""

from __future__ import annotations

import random

import pytest

from ziggurat.verse.demonstrations import acrostic_task, title_task
from ziggurat.verse.labellers import (
    MIN_LINES_COUNTED,
    Labeller,
    Memory,
    chance_of_right_order,
    pair_kind,
    points,
    read_round,
    rhyming_share,
)
from ziggurat.verse.prosody import FORMS, split_lines
from ziggurat.verse.rounds import alter

TASK = title_task(FORMS["五绝"], "登鹳雀楼")
GOOD = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层楼。"
UNRHYMED = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层山。"
SAME_AGAIN = "白日依山尽，黄河入海流。\n欲穷千里目，更上一层流。"
MISSHAPEN = "白日依山尽，黄河入海。\n欲穷千里目，更上一层楼。"
TWICE = "白日依山尽，黄河入海流。\n白日依山尽，更上一层楼。"
PLAIN = Memory()


def test_the_order_of_the_taste() -> None:
    order = [GOOD, UNRHYMED, SAME_AGAIN, MISSHAPEN]
    worth = [points(TASK, text, PLAIN) for text in order]
    assert worth == [1.0, 0.0, -1.0, -1.625]  # one line of four is too short
    assert points(TASK, TWICE, PLAIN) < points(TASK, UNRHYMED, PLAIN)


def test_a_poem_that_misses_its_form_widely_is_worse_than_one_that_just_misses() -> None:
    assert points(TASK, "不知道", PLAIN) == -2.0
    assert points(TASK, "", PLAIN) == -2.0


def test_a_line_from_a_book_is_recognised() -> None:
    memory = Memory(books=frozenset(["黄河入海流"]))
    assert points(TASK, GOOD, memory) == pytest.approx(0.25)


def test_what_a_round_overuses_loses_points() -> None:
    """A policy that ends every poem alike is disliked for it, although each poem rhymes by the rule."""
    memory = read_round(frozenset(), [GOOD] * (MIN_LINES_COUNTED // 4))
    assert memory.overused_endings == frozenset("尽流目楼")
    assert memory.overused_groups == frozenset("尤")
    assert points(TASK, GOOD, memory) < points(TASK, UNRHYMED, PLAIN)
    assert read_round(frozenset(), [GOOD]) == PLAIN


def test_the_books_stay_known_when_a_round_is_read() -> None:
    assert read_round(frozenset(["甲"]), [GOOD] * 100).books == frozenset(["甲"])


def test_an_acrostic_must_begin_as_given() -> None:
    kept, broken = acrostic_task(FORMS["五绝"], "白黄欲更"), acrostic_task(FORMS["五绝"], "白黄更更")
    assert points(kept, GOOD, PLAIN) == 1.0
    assert points(broken, GOOD, PLAIN) == 0.5


def test_eight_lines_rhyme_in_part() -> None:
    lines = split_lines("空山后，天来秋。明月照，清泉流。竹归女，莲渔舟。随春歇，王孙山。")
    assert rhyming_share(lines) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("worse", "kind"),
    [
        (UNRHYMED, "rhymed/unrhymed"),
        (SAME_AGAIN, "clean/same character again"),
        (MISSHAPEN, "formed/misshapen"),
    ],
)
def test_pairs_have_kinds(worse: str, kind: str) -> None:
    assert pair_kind(TASK, worse, GOOD, PLAIN) == pair_kind(TASK, GOOD, worse, PLAIN) == kind


def test_without_noise_ranks_follow_the_points_and_equals_tie() -> None:
    assert Labeller("x", noise=0).rank(random.Random(0), [1.0, -1.0, 1.0, 0.0]) == [1, 4, 1, 3]


def test_the_chance_of_the_right_order_is_what_labellers_show() -> None:
    """20,000 pairs at a gap of 0.5: the standard error is 0.002, so 0.015 fails once in 1e13."""
    chance, labeller = random.Random(1), Labeller("x", noise=0.5)
    right = sum(labeller.rank(chance, [0.5, 0.0]) == [1, 2] for _ in range(20_000))
    assert right / 20_000 == pytest.approx(chance_of_right_order(0.5, 0.5), abs=0.015)
    assert chance_of_right_order(0.5, 0) == 1.0


def test_mending_and_spoiling_change_one_ending_only() -> None:
    usual = list("流楼秋舟山还花家光霜")
    for seed in range(20):
        mended, spoiled = alter(UNRHYMED, usual, random.Random(seed))
        assert points(TASK, mended, PLAIN) == 1.0
        assert points(TASK, spoiled, PLAIN) <= 0.0
        for text in (mended, spoiled):
            assert sum(a != b for a, b in zip(text, UNRHYMED, strict=True)) <= 1
