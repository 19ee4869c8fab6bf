"""Strengths from battles: equal to scikit-learn's and scipy's fits, to hand-made numbers, and to planted strengths."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from ziggurat.evaluation.bradley_terry import (
    CENTRE,
    SCALE,
    Battle,
    elo,
    fit,
    ratings,
    standardised,
    win_matrix,
)

PLANTED = {"strong": 1.0, "middle": 0.2, "weak": -1.2}


def played(count: int, *, seed: int = 0, long_wins: float = 0.0) -> list[Battle]:
    """Battles by known strengths; `long_wins`: what a covariate of 1 is worth, which the weak player has most often."""
    chance, found = random.Random(seed), []
    for _ in range(count):
        a, b = chance.sample(sorted(PLANTED), 2)
        style = ()
        z = PLANTED[a] - PLANTED[b]
        if long_wins:
            lengths = [chance.gauss(1.5 if name == "weak" else 0.0, 1.0) for name in (a, b)]
            style = (lengths[0] - lengths[1],)
            z += long_wins * style[0]
        found.append(Battle(a, b, "a" if chance.random() < 1 / (1 + math.exp(-z)) else "b", style))
    return found


def test_two_players_have_the_strengths_of_their_odds() -> None:
    """By hand: three wins of four are odds of 3, so the strengths differ by log 3 = 1.0986."""
    battles = [Battle("x", "y", "a")] * 2 + [Battle("y", "x", "b"), Battle("x", "y", "b")]
    found = fit(battles, ridge=1e-9).strengths
    assert found["x"] - found["y"] == pytest.approx(math.log(3), abs=1e-6)
    tied = fit([Battle("x", "y", "tie"), Battle("x", "y", "both_bad")]).strengths
    assert tied == pytest.approx({"x": 0.0, "y": 0.0}, abs=1e-12)


def test_the_fit_is_that_of_scikit_learn_and_of_scipy() -> None:
    battles = played(600, long_wins=0.7)
    names, ridge = sorted(PLANTED), 0.05
    x = np.zeros((len(battles), 4))
    for row, one in enumerate(battles):
        x[row, names.index(one.a)], x[row, names.index(one.b)], x[row, 3] = 1, -1, one.style[0]
    y = np.array([one.winner == "a" for one in battles], dtype=float)
    ours = fit(battles, ridge=ridge)
    mine = np.array([*(ours.strengths[name] for name in names), *ours.style])

    theirs = LogisticRegression(C=1 / ridge, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(x, y)
    assert mine == pytest.approx(theirs.coef_[0], abs=1e-4)

    def loss(s: np.ndarray) -> float:
        z = x @ s
        return float((np.logaddexp(0, z) - y * z).sum() + ridge / 2 * (s * s).sum())

    assert mine == pytest.approx(minimize(loss, np.zeros(4), tol=1e-12).x, abs=1e-4)


def test_planted_strengths_are_found_and_lie_in_their_intervals() -> None:
    """1,500 battles; each of three intervals of 95 % misses 1 time in 20 by chance, so the seed is fixed."""
    found = ratings(played(1500, seed=3), resamples=200)
    assert [one.name for one in found] == ["strong", "middle", "weak"]
    assert [one.rank for one in found] == [1, 2, 3]
    for one in found:
        planted = CENTRE + SCALE * PLANTED[one.name]
        assert one.low <= planted <= one.high, one
        assert one.low < one.rating < one.high
    assert sum(one.battles for one in found) == 3000
    assert sum(one.wins for one in found) == pytest.approx(1500)


def test_style_control_takes_the_worth_of_length_out_of_the_strengths() -> None:
    battles = played(3000, seed=5, long_wins=1.0)
    plain = fit([Battle(one.a, one.b, one.winner) for one in battles]).strengths
    controlled = fit(battles)
    error = {name: abs(controlled.strengths[name] - PLANTED[name]) for name in PLANTED}
    assert max(error.values()) < 0.2
    assert controlled.style[0] == pytest.approx(1.0, abs=0.12)
    assert plain["weak"] - PLANTED["weak"] > 0.4, "without control its long answers make it look stronger"


def test_the_order_of_the_votes_does_not_matter() -> None:
    battles = played(200, seed=7)
    turned = battles[::-1]
    assert elo(battles) == pytest.approx(elo(turned), abs=1e-9)
    assert fit(battles).strengths == pytest.approx(fit(turned).strengths, abs=1e-9)
    order = sorted(elo(battles), key=lambda name: -elo(battles)[name])
    assert order == ["strong", "middle", "weak"]


def test_elo_of_one_battle_by_hand() -> None:
    """Equals meet: expected 0.5, so the winner gets k / 2 = 2 points of the loser's."""
    assert elo([Battle("x", "y", "a")], k=4) == pytest.approx({"x": 1002.0, "y": 998.0})


def test_a_player_that_always_wins_has_a_finite_rating() -> None:
    (first, second) = ratings([Battle("x", "y", "a")] * 20, resamples=20)
    assert first.name == "x"
    assert math.isfinite(first.rating)
    assert first.rating > second.rating


def test_the_matrix_counts_a_tie_as_a_half_for_each() -> None:
    found = win_matrix([Battle("x", "y", "a"), Battle("y", "x", "tie"), Battle("x", "z", "b")])
    assert found["x"]["y"] == (1.5, 2)
    assert found["y"]["x"] == (0.5, 2)
    assert found["z"]["x"] == (1.0, 1)


def test_no_battles_no_ratings_and_mixed_covariates_are_refused() -> None:
    assert ratings([]) == []
    assert fit([Battle("x", "x", "a")]).strengths == {}
    with pytest.raises(ValueError, match="same covariates"):
        fit([Battle("x", "y", "a", (1.0,)), Battle("x", "y", "b")])
    assert standardised([(1.0, 2.0), (3.0, 2.0)]) == [(1.0, 2.0), (3.0, 2.0)]
