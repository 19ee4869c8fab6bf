"""How far people agree: chance-corrected measures of their answers about the same items, each with its interval.

An item's answers are a mapping from person to value; who has not answered is missing from it. Every measure is a
function of sums over items, so its 95 % interval comes from resampled items (`statistics.sums_bootstrap`).

    raw_agreement     share of pairs of answers that are equal
    cohen_kappa       two people, nominal
    weighted_kappa    two people, numbers: linear or quadratic weights
    fleiss_kappa      any number of people, nominal
    krippendorff      any number of people, missing answers: nominal, ordinal or interval
    mean_difference   mean absolute difference of two answers, in steps of the scale

A measure that is not defined (all answers are the same value, so chance alone explains all) is nan: read the prevalence
beside it. Rankings are in `rank_agreement`. Sources: Cohen (1960, 1968); Fleiss (1971); Krippendorff, "Computing
Krippendorff's Alpha-Reliability" (2011). Left out: ratio and circular distances, Gwet's AC1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ziggurat.evaluation.statistics import Interval, sums_bootstrap

ENOUGH = 30
"""Items that at least two people answered; a measure of fewer is shown as "too few"."""
MAX_LEVELS = 64
"""Distinct values of the nominal and the ordinal alpha, whose work grows with their square."""

Answers = Mapping[Any, Any]
"""Person to value, of one item."""
Level = Literal["nominal", "ordinal", "interval"]
Array = NDArray[np.float64]


def overlapping(items: Sequence[Answers]) -> list[int]:
    """Where the items stand that at least two people answered."""
    return [at for at, answers in enumerate(items) if len(answers) > 1]


def too_few(interval: Interval) -> bool:
    return interval.clusters < ENOUGH


def prevalence(items: Sequence[Answers]) -> dict[Hashable, float]:
    """The share of each value among all answers of the overlapping items."""
    counts = Counter(value for at in overlapping(items) for value in items[at].values())
    total = sum(counts.values())
    return {value: count / total for value, count in sorted(counts.items(), key=lambda one: str(one[0]))}


def raw_agreement(items: Sequence[Answers], clusters: Sequence[Hashable] | None = None) -> Interval:
    """The share of pairs of answers about one item that are equal; an item counts by its pairs."""
    kept, groups = _kept(items, clusters)
    sums = []
    for answers in kept:
        m = len(answers)
        same = sum(n * (n - 1) // 2 for n in Counter(answers.values()).values())
        sums.append((same, m * (m - 1) // 2))
    return sums_bootstrap(_rows(sums, 2), _ratio, groups)


def mean_difference(items: Sequence[Answers], clusters: Sequence[Hashable] | None = None) -> Interval:
    """The mean absolute difference of two answers (numbers) about one item."""
    kept, groups = _kept(items, clusters)
    sums = []
    for answers in kept:
        pairs = list(combinations((float(value) for value in answers.values()), 2))
        sums.append((sum(abs(a - b) for a, b in pairs), len(pairs)))
    return sums_bootstrap(_rows(sums, 2), _ratio, groups)


def cohen_kappa(pairs: Sequence[tuple[Any, Any]], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Two people's nominal answers: (observed - expected) / (1 - expected) agreement."""
    return _kappa(pairs, sorted({v for pair in pairs for v in pair}, key=str), "nominal", clusters)


def weighted_kappa(
    pairs: Sequence[tuple[float, float]],
    weights: Literal["linear", "quadratic"] = "quadratic",
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Two people's numbers: a disagreement weighs by its distance, or by the square of its distance."""
    return _kappa(pairs, sorted({v for pair in pairs for v in pair}), weights, clusters)


def _kappa(
    pairs: Sequence[tuple[Any, Any]], levels: list[Any], weights: str, clusters: Sequence[Hashable] | None
) -> Interval:
    """1 - (weighted disagreement) / (that of independent people with the same marginals); weights on distances."""
    v, place = len(levels), {value: at for at, value in enumerate(levels)}
    if weights == "nominal":
        distance = 1.0 - np.eye(v)
    else:
        x = np.array([float(value) for value in levels])
        distance = np.abs(x[:, None] - x[None, :]) ** (1 if weights == "linear" else 2)
    sums = np.zeros((len(pairs), v * v))
    for row, (a, b) in enumerate(pairs):
        sums[row, place[a] * v + place[b]] = 1

    def statistic(totals: Array) -> Array:
        table = totals.reshape(-1, v, v)
        n = table.sum(axis=(1, 2))
        expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :] / n[:, None, None]
        kappa: Array = 1 - (table * distance).sum(axis=(1, 2)) / _or_nan(
            (expected * distance).sum(axis=(1, 2))
        )
        return kappa

    return sums_bootstrap(sums, statistic, clusters)


def fleiss_kappa(items: Sequence[Answers], clusters: Sequence[Hashable] | None = None) -> Interval:
    """Any number of people. Fleiss's own formula where each item has the same number of answers; where the numbers
    differ, each item counts once in the observed agreement and each answer once in the expected one."""
    kept, groups = _kept(items, clusters)
    levels = sorted({value for answers in kept for value in answers.values()}, key=str)
    sums = []
    for answers in kept:
        counts, m = Counter(answers.values()), len(answers)
        agreed = sum(n * (n - 1) for n in counts.values()) / (m * (m - 1))
        sums.append((agreed, 1.0, *(counts[value] for value in levels)))

    def statistic(totals: Array) -> Array:
        observed, shares = totals[:, 0] / totals[:, 1], totals[:, 2:]
        expected = ((shares / shares.sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
        kappa: Array = (observed - expected) / _or_nan(1 - expected)
        return kappa

    return sums_bootstrap(_rows(sums, 2 + len(levels)), statistic, groups)


def krippendorff(
    items: Sequence[Answers], level: Level = "nominal", clusters: Sequence[Hashable] | None = None
) -> Interval:
    """Alpha = 1 - observed / expected disagreement; answers may be missing, items with one answer do not count.

    Raises:
        ValueError: more than MAX_LEVELS distinct values at the levels nominal and ordinal.
    """
    kept, groups = _kept(items, clusters)
    if level == "interval":
        return sums_bootstrap(_rows([_moments(answers) for answers in kept], 4), _interval_alpha, groups)
    values = {value for answers in kept for value in answers.values()}
    levels = sorted(values, key=str) if level == "nominal" else sorted(values)
    v = len(levels)
    if v > MAX_LEVELS:
        raise ValueError(
            f"alpha of the level {level} takes at most {MAX_LEVELS} distinct values, not {v}; use the level interval"
        )
    place = {value: at for at, value in enumerate(levels)}
    sums = np.zeros((len(kept), v * v))  # the coincidences of each item, (V, V) flat
    for row, answers in enumerate(kept):
        counts = np.zeros(v)
        for value in answers.values():
            counts[place[value]] += 1
        sums[row] = ((np.outer(counts, counts) - np.diag(counts)) / (len(answers) - 1)).ravel()
    distance = _ordinal if level == "ordinal" else _nominal
    return sums_bootstrap(sums, lambda totals: _alpha(totals.reshape(-1, v, v), distance), groups)


def _alpha(coincidences: Array, distance: Callable[[Array], Array]) -> Array:
    """(R, V, V) -> (R). The diagonal of expected coincidences does not matter: its distance is 0."""
    marginals = coincidences.sum(axis=2)  # (R, V)
    squared = distance(marginals)  # (R, V, V)
    n = marginals.sum(axis=1)
    observed = (coincidences * squared).sum(axis=(1, 2)) / n
    products = marginals[:, :, None] * marginals[:, None, :]
    expected = (products * squared).sum(axis=(1, 2)) / (n * (n - 1))
    alpha: Array = 1 - observed / _or_nan(expected)
    return alpha


def _nominal(marginals: Array) -> Array:
    return np.broadcast_to(1.0 - np.eye(marginals.shape[1]), (*marginals.shape, marginals.shape[1]))


def _ordinal(marginals: Array) -> Array:
    """The squared number of answers between two values, each end counting half."""
    middle = np.cumsum(marginals, axis=1) - marginals / 2  # (R, V)
    squared: Array = (middle[:, :, None] - middle[:, None, :]) ** 2
    return squared


def _moments(answers: Answers) -> tuple[float, float, float, float]:
    """What an item adds to the interval alpha: m, sums of x and x^2, squared differences of its pairs / (m - 1)."""
    x = np.array([float(value) for value in answers.values()])
    m = x.size
    within = 2 * (m * float((x * x).sum()) - float(x.sum()) ** 2) / (m - 1)
    return float(m), float(x.sum()), float((x * x).sum()), within


def _interval_alpha(totals: Array) -> Array:
    n, first, second, within = totals.T
    expected = 2 * (n * second - first**2) / (n * (n - 1))
    alpha: Array = 1 - (within / n) / _or_nan(np.where(expected > 1e-12 * second / n, expected, 0))
    return alpha


# --- shared -----------------------------------------------------------------------------------------------------------


def _kept(
    items: Sequence[Answers], clusters: Sequence[Hashable] | None
) -> tuple[list[Answers], list[Hashable] | None]:
    if clusters is not None and len(clusters) != len(items):
        raise ValueError(f"{len(items)} items need {len(items)} clusters, got {len(clusters)}")
    at = overlapping(items)
    return [items[i] for i in at], None if clusters is None else [clusters[i] for i in at]


def _rows(sums: Sequence[Sequence[float]], width: int) -> Array:
    return np.array(sums, dtype=np.float64).reshape(-1, width)


def _ratio(totals: Array) -> Array:
    return totals[:, 0] / _or_nan(totals[:, 1])


def _or_nan(x: Array) -> Array:
    """A divisor: 0 becomes nan."""
    return np.where(x == 0, np.nan, x)
