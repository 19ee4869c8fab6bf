"""Laws of size, data and compute: planted constants come back, scipy agrees, the optimum is one."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from ziggurat.errors import UsageError
from ziggurat.evaluation import saved_law
from ziggurat.evaluation.saved_law import SavedLaw, load_law, save_law
from ziggurat.evaluation.scaling_laws import (
    Law,
    choose_size,
    fit_law,
    frontier,
    log_linear,
    r_squared,
)

NAMES = ("parameters", "tokens")
PUBLISHED = Law(NAMES, 1.69, (406.4, 410.7), (0.34, 0.28), 0.0, 0)
"""Hoffmann et al. 2022, equation 10."""


def runs(noise: float, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Five sizes at three numbers of tokens a parameter, with losses of the published law: x (15, 2), loss (15,)."""
    sizes = np.repeat(np.geomspace(1e7, 1e9, 5), 3)
    x = np.stack([sizes, sizes * np.tile([5.0, 20.0, 80.0], 5)], axis=1)
    loss = np.array([PUBLISHED.loss(*row) for row in x])
    return x, loss * np.exp(noise * np.random.default_rng(seed).normal(size=len(loss)))


def test_planted_constants_come_back() -> None:
    x, loss = runs(0.0)
    law = fit_law(NAMES, x, loss, resamples=4)
    assert law.offset == pytest.approx(1.69, rel=1e-4)
    assert law.factors == pytest.approx((406.4, 410.7), rel=1e-3)
    assert law.exponents == pytest.approx((0.34, 0.28), rel=1e-4)
    for bounds in law.constants().values():
        assert bounds.low == pytest.approx(bounds.high, rel=0.02)
    # a model eight times as large is foreseen
    assert law.loss(8e9, 3.2e11) == pytest.approx(PUBLISHED.loss(8e9, 3.2e11), rel=1e-4)


def test_the_loss_by_compute_comes_back() -> None:
    compute = np.geomspace(1e12, 1e16, 8)
    law = fit_law(("compute",), compute[:, None], 2.0 + 60.0 / compute**0.12, resamples=0)
    assert law.offset == pytest.approx(2.0, rel=1e-3)
    assert law.exponents == pytest.approx((0.12,), rel=1e-3)
    assert math.isnan(law.predict(1e17).low)  # without resamples there is no interval


def test_scipy_finds_no_better_minimum() -> None:
    """The published procedure: L-BFGS on the Huber loss of log L, written down here a second time."""
    x, loss = runs(0.004)
    law = fit_law(NAMES, x, loss, resamples=0)

    def objective(theta: NDArray[np.float64]) -> float:
        e, a, b, alpha, beta = theta
        terms = np.stack([np.full(len(x), e), a - alpha * np.log(x[:, 0]), b - beta * np.log(x[:, 1])])
        residual = np.abs(np.log(np.exp(terms).sum(axis=0)) - np.log(loss))
        return float(np.where(residual < 1e-3, residual**2 / 2, 1e-3 * (residual - 5e-4)).sum())

    ours = np.array([math.log(law.offset), *np.log(law.factors), *law.exponents])
    assert law.huber * len(x) == pytest.approx(objective(ours), rel=1e-6)
    starts = [ours, *(np.array([0.5, 6.0, 6.0, p, p]) for p in (0.3, 0.5))]
    options = {"maxiter": 2000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-12}
    theirs = min(minimize(objective, start, method="L-BFGS-B", options=options).fun for start in starts)
    assert objective(ours) <= theirs * (1 + 1e-4)


def test_the_interval_holds_the_truth_and_seeds_are_resampled_together() -> None:
    x, loss = runs(0.004, seed=3)
    law = fit_law(NAMES, x, loss, resamples=60)
    found, true = law.predict(4e9, 8e10), PUBLISHED.loss(4e9, 8e10)
    assert found.low < found.value < found.high
    assert found.low * 0.99 < true < found.high * 1.01
    assert found.value == pytest.approx(true, rel=0.01)
    # every run twice, in groups of two: nothing more is known than from one of each
    twice = fit_law(
        NAMES, np.repeat(x, 2, 0), np.repeat(loss, 2), groups=np.repeat(range(15), 2).tolist(), resamples=60
    )
    again = twice.predict(4e9, 8e10)
    assert again.high - again.low == pytest.approx(found.high - found.low, rel=0.25)


def test_the_optimum_is_the_least_loss_for_its_compute() -> None:
    n, d = PUBLISHED.best_for(5.76e23)  # of Gopher, as in the paper
    assert 6 * n * d == pytest.approx(5.76e23)
    best = minimize_scalar(lambda log_n: PUBLISHED.loss(math.exp(log_n), 5.76e23 / 6 / math.exp(log_n)),
                           bounds=(15, 35), method="bounded", options={"xatol": 1e-9})  # fmt: skip
    assert math.log(n) == pytest.approx(best.x, abs=1e-4)
    # real shapes: the nearest of them, and a small one where there is little text
    candidates = [(n * factor, 6 * n * factor) for factor in (0.1, 1.0, 10.0)]
    assert choose_size(PUBLISHED, candidates, 5.76e23).index == 1
    assert choose_size(PUBLISHED, candidates, 5.76e23).tokens == pytest.approx(d)
    short = choose_size(PUBLISHED, candidates, 5.76e23, most_tokens=d / 100)
    assert short.tokens == d / 100
    assert short.loss.value == PUBLISHED.loss(candidates[short.index][0], d / 100)


def test_a_line_of_log_size() -> None:
    line = log_linear([1e3, 1e4, 1e5], [4.0, 3.5, 3.0])
    assert (line.slope, line.intercept, line.r2) == pytest.approx((-0.5, 5.5, 1.0))
    assert r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]) == pytest.approx(0.5)


def test_the_frontier_leaves_out_runs_that_a_cheaper_one_beats() -> None:
    assert frontier([1, 2, 3, 4, 4], [5.0, 4.0, 4.5, 3.0, 3.5]) == [0, 1, 3]


def test_too_little_is_refused() -> None:
    x, loss = runs(0.0)
    with pytest.raises(UsageError, match="4 runs are too few for a law of parameters and tokens"):
        fit_law(NAMES, x[:4], loss[:4])
    x[:, 1] = 1e9
    with pytest.raises(UsageError, match="all runs have the same tokens"):
        fit_law(NAMES, x, loss)


def test_a_saved_law_is_read_by_its_name() -> None:
    x, loss = runs(0.004)
    saved = SavedLaw(
        "books", "books.txt", fit_law(NAMES, x, loss, resamples=5), 512, 64, (1e7, 1e9), (5e7, 8e10)
    )
    saved_law.series_folder("books").mkdir(parents=True)
    save_law(saved)
    assert load_law("books") == saved
    assert json.loads((saved_law.series_folder("books") / "law.json").read_text())["format_version"] == 1
    with pytest.raises(UsageError, match=r'no fitted law "bocks".*books'):
        load_law("bocks")
    assert saved.reach(5e8) == "within the sizes of the fit"
    assert saved.reach(7.5e9) == "7.5 times its largest size"
