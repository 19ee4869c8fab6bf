"""Intervals and AUROC against published values, brute force and theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ziggurat.evaluation.statistics import (
    auroc,
    auroc_interval,
    average_ranks,
    cluster_bootstrap,
    correlation,
    paired_bootstrap,
    student_interval,
    wilson,
)


def test_student_interval_of_three_seeds() -> None:
    """By hand for 1, 2, 3: mean 2, s = 1, t(2) = 4.303, so 4.303 / sqrt(3) = 2.484 on each side; one value has none."""
    interval = student_interval([1.0, 2.0, 3.0])
    assert (interval.value, interval.clusters) == (2.0, 3)
    assert interval.high - 2 == pytest.approx(2.4843, abs=1e-3) == 2 - interval.low
    assert math.isnan(student_interval([4.0]).low)


def test_wilson_matches_the_published_example() -> None:
    """Brown, Cai and DasGupta's formula worked by hand for 8 of 10 and z = 1.96: 0.490 to 0.943."""
    interval = wilson(8, 10)
    assert (interval.low, interval.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_wilson_has_width_at_the_ends() -> None:
    """By hand for 0 of n: high = z² / (n + z²) = 3.8415 / 23.8415."""
    assert wilson(0, 20).low == 0.0
    assert wilson(0, 20).high == pytest.approx(3.8415 / 23.8415, abs=1e-4)
    assert wilson(20, 20).high == 1.0


def test_auroc_equals_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.4  # many ties
    pairs = [1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[labels] for n in scores[~labels]]
    assert auroc(scores, labels) == pytest.approx(sum(pairs) / len(pairs))


def test_auroc_without_both_kinds_is_no_number() -> None:
    assert math.isnan(auroc([1.0, 2.0], [True, True]))


def test_tied_ranks_share_their_mean() -> None:
    assert average_ranks([5, 1, 5]).tolist() == [2.5, 1.0, 2.5]


def test_the_bootstrap_of_a_mean_has_the_width_that_theory_gives() -> None:
    """400 coin flips: 1.96 × 0.5 / 20 = 0.049 on either side."""
    flips = np.tile([0.0, 1.0], 200)
    interval = cluster_bootstrap(flips)
    assert interval.value == 0.5
    assert interval.high - interval.low == pytest.approx(0.098, rel=0.1)


def test_clusters_that_agree_widen_the_interval() -> None:
    """400 answers about 20 residents who are all right or all wrong know no more than 20 flips do."""
    values = np.repeat(np.tile([0.0, 1.0], 10), 20)
    residents = np.repeat(np.arange(20), 20).tolist()
    wide, narrow = cluster_bootstrap(values, residents), cluster_bootstrap(values)
    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert ratio == pytest.approx(math.sqrt(20), rel=0.25)
    assert (wide.n, wide.clusters) == (400, 20)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.normal(0, 10, 200)
    interval = paired_bootstrap(theirs + 1.0, theirs)
    assert interval.low == pytest.approx(1.0)
    assert interval.high == pytest.approx(1.0)


def test_the_auroc_interval_holds_its_value_and_is_repeatable() -> None:
    rng = np.random.default_rng(2)
    labels = np.arange(80) % 2 == 0
    scores = rng.normal(0, 1, 80) + labels
    one, two = auroc_interval(scores, labels), auroc_interval(scores, labels)
    assert one == two
    assert one.low < one.value < one.high


def test_no_variance_means_no_correlation() -> None:
    assert math.isnan(correlation([1, 1, 1], [1, 2, 3]))
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
