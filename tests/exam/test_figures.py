"""Figures on rows that are counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ziggurat.evaluation.statistics import wilson
from ziggurat.exam.figures import chance, compared, consistency, detectable, figure, majority, mean
from ziggurat.exam.item import Found, Item, Mark
from ziggurat.exam.reading import read_task
from ziggurat.exam.switches import Switches
from ziggurat.exam.templates import items
from ziggurat.exam.wording import change, metric, sentence, standing


def found(*scores: float, pairs: str = "", answers: str = "", clusters: str = "") -> list[Found]:
    return [
        Found(
            id=str(i),
            stratum="ab"[i % 2],
            cluster=clusters[i] if clusters else "",
            pair=pairs[i] if pairs else "",
            answers=(answers[i],) if answers else (),
            mark=Mark({"score": score}),
        )
        for i, score in enumerate(scores)
    ]


def test_chance_and_majority_of_choices(write_task: Callable[..., Path]) -> None:
    """Two choices and four: guessing is right 3/8 of the time. The commonest right one: two of three."""
    rows = [
        {"question": "q", "options": ["a", "b"], "answer": 0},
        {"question": "q", "options": ["a", "b", "c", "d"], "answer": 0},
    ]
    task = read_task(write_task(form="choice", choices="options", metric=None, rows=rows))
    assert chance(task, items(task, Switches())) == pytest.approx(3 / 8)
    assert majority(task, items(task, Switches()), Switches()) == 1.0


def test_majority_of_free_answers(write_task: Callable[..., Path]) -> None:
    rows = [{"question": "q", "answer": a} for a in ("Yes", "yes.", "no", ["no", "yes"], "Yes")]
    task = read_task(write_task(rows=rows))
    # "Yes", the commonest, is right wherever the metric takes it: rows 1, 2, 4 and 5
    assert majority(task, items(task, Switches()), Switches()) == pytest.approx(4 / 5)


def test_all_right_has_wilsons_interval() -> None:
    assert (mean(found(1, 1, 1, 1)).low, mean(found(1, 1, 1, 1)).high) == pytest.approx(
        (wilson(4, 4).low, wilson(4, 4).high)
    )
    # four rows of two clusters are two observations
    assert mean(found(0, 0, 0, 0, clusters="xxyy")).high == pytest.approx(wilson(0, 2).high)


def test_intervals_are_of_clusters() -> None:
    alone, joined = mean(found(*[1, 0] * 20)), mean(found(*[1] * 20, *[0] * 20, clusters="x" * 20 + "y" * 20))
    assert alone.value == joined.value == 0.5
    assert joined.high - joined.low > 3 * (alone.high - alone.low)


def test_paired_differences() -> None:
    ours, theirs = found(1, 1, 0, 1), found(1, 0, 0, 0)
    assert compared(ours, theirs).value == pytest.approx(0.5)
    assert compared(ours, theirs[:2]).value == pytest.approx(0.5)  # the items that both have
    assert compared(ours, ours).high == 0.0


def test_consistency_of_pairs(write_task: Callable[..., Path]) -> None:
    """Pair x: yes, yes, no: 1 of its 3 twos agree. Pair y: no, no: 1 of 1. Together 2 of 4."""
    task = read_task(write_task())
    assert consistency(task, found(*[0.0] * 5, pairs="xxxyy", answers="YyNNn")).value == pytest.approx(2 / 4)


def test_detectable_difference_is_that_of_two_models() -> None:
    """100 items at one half: a standard error of 0.05, of a difference 0.0707, times 2.8 is 0.198."""
    rows = found(*[0, 1] * 50)
    assert detectable(rows, mean(rows)) == pytest.approx(0.198, abs=0.02)
    sure = found(*[1.0] * 50)
    assert 0.05 < (detectable(sure, mean(sure)) or 0) < 0.2  # never 0, however sure the model


def test_clean_part_and_strata(write_task: Callable[..., Path]) -> None:
    task = read_task(write_task())
    rows = found(1, 1, 0, 0)
    shown = figure(
        task, [Item(id=one.id) for one in rows], rows, Switches(), {"0": True, "1": True, "2": False}
    )
    assert shown["contaminated"] == pytest.approx(2 / 3, abs=1e-6)
    assert (shown["clean"]["n"], shown["clean"]["score"]) == (1, 0.0)
    assert shown["strata"]["a"]["n"] == 2
    assert shown["strata"]["a"]["score"] == 0.5


def test_sentences_say_what_intervals_allow() -> None:
    good = {
        "score": 0.9,
        "low": 0.8,
        "high": 1.0,
        "chance": 0.25,
        "majority": 0.3,
        "better": "higher",
        "unit": "share",
    }
    open_ = {**good, "low": 0.2}
    assert standing(good) is True
    assert standing(open_) is None
    assert standing({**good, "score": 0.1, "low": 0.0, "high": 0.2}) is False
    assert sentence("Facts", good, None, None, "en") == (
        "Facts: 90 % [80, 100], better than always the commonest answer (30 %)."
    )
    assert (
        sentence("常识", open_, None, None, "zh")
        == "常识：90 % [20, 100]，与总答最常见的答案（30 %）分不开。"
    )
    worse = compared(found(*[0] * 5), found(*[1] * 5))
    assert change(worse, good, "old", "en") == "worse than old (-100 points)"
    assert change(worse, {**good, "better": "lower"}, "old", "en") == "better than old (-100 points)"
    assert (
        change(compared(found(0, 1), found(1, 0)), good, "old", "zh") == "与 old 没有发现差别（+0 个百分点）"
    )


def test_several_right_choices(write_task: Callable[..., Path]) -> None:
    """Guessing is right in 2 of 3, and in 1 of 2: 7/12. The second place is right twice of two. Grades: their mean."""
    task = read_task(write_task(form="choice", choices="options", metric=None))
    two = [
        Item(id="1", choices=(" a", " b", " c"), target=[0, 1]),
        Item(id="2", choices=(" a", " b"), target="b"),
    ]
    assert chance(task, two) == pytest.approx(7 / 12)
    assert majority(task, two, Switches()) == 1.0
    graded = [Item(id="1", choices=("a", "b"), target=0, row={"grades": [0.75, 0.25]})]
    assert chance(task, graded) == pytest.approx(0.5)
    assert majority(task, graded, Switches()) == 0.75


def test_few_items_have_wide_intervals(write_task: Callable[..., Path]) -> None:
    """One cluster has none. Equal scores of one half have Wilson's, here of 2 in 4. Equal differences never 0 width."""
    assert math.isnan(mean(found(1)).low)
    assert math.isnan(mean(found(1, 0, clusters="xx")).high)
    half = mean(found(0.5, 0.5, 0.5, 0.5))
    assert (half.low, half.high) == (wilson(2, 4).low, wilson(2, 4).high)
    three, five = compared(found(*[1] * 3), found(*[0] * 3)), compared(found(*[1] * 5), found(*[0] * 5))
    assert three.low == pytest.approx(2 * 3 / (3 + 1.959964**2) - 1)  # Wilson of k in k: k / (k + z^2)
    assert three.low < 0 < five.low
    assert five.high == 1
    assert math.isnan(compared(found(1), found(0)).low)
    task = read_task(write_task())
    assert consistency(task, found(0, 0, 0, 0, pairs="xxyy", answers="aabb")).low == pytest.approx(
        wilson(2, 2).low
    )


def test_differences_are_weighted_as_scores_are() -> None:
    """A document of 90 bytes gains 1, one of 10 bytes loses 1: 0.8, not 0."""

    def weighed(*scores: float) -> list[Found]:
        return [
            Found(str(i), "", "", "", (), Mark({"score": score}, "", {"weight": weight}))
            for i, (score, weight) in enumerate(zip(scores, (90, 10), strict=True))
        ]

    ours, theirs = weighed(2, 1), weighed(1, 2)
    assert compared(ours, theirs).value == pytest.approx(0.8)
    assert mean(ours).value - mean(theirs).value == pytest.approx(0.8)


def test_figures_that_are_no_shares_have_no_percent() -> None:
    assert metric("target_nats", -0.25) == "-0.25"
    assert metric("errors_per_1000", 0.5, 0.25, 1.0) == "0.5 [0.25, 1]"
    assert metric("word_perplexity,none", 1.0) == "1"
    assert metric("read", 0.5) == "50 %"
