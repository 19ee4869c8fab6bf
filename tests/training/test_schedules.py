"""Schedules against values worked by hand."""

import pytest

from ziggurat.training.schedules import lr_factor


def test_warmup_rises_evenly_and_its_first_step_moves() -> None:
    assert [lr_factor(s, 100, 4) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_linear_falls_evenly_and_its_last_step_still_moves() -> None:
    """10 steps without warm-up: 1, 0.9, ..., 0.1; zero would be reached at step 10, which is never taken."""
    assert [lr_factor(s, 10, 0) for s in range(10)] == pytest.approx([1 - s / 10 for s in range(10)])


def test_fall_ends_at_the_final_factor() -> None:
    assert lr_factor(10, 10, 2, "linear", 0.1) == pytest.approx(0.1)
    assert lr_factor(10, 10, 2, "cosine", 0.1) == pytest.approx(0.1)


def test_cosine_is_half_way_at_half_time() -> None:
    """(1 + cos(pi / 2)) / 2 = 1/2, and three quarters of the way 1/2 - sqrt(2)/4."""
    assert lr_factor(50, 100, 0, "cosine") == pytest.approx(0.5)
    assert lr_factor(75, 100, 0, "cosine") == pytest.approx(0.5 - 2**0.5 / 4)


def test_constant_stays() -> None:
    assert {lr_factor(s, 100, 10, "constant") for s in range(10, 100)} == {1.0}


def test_warmup_as_long_as_the_run_divides_by_nothing() -> None:
    assert [lr_factor(s, 3, 3) for s in range(3)] == pytest.approx([1 / 3, 2 / 3, 1.0])
