"""How surely we know a number: intervals by bootstrap over clusters, Wilson's interval, AUROC.

Questions about one resident stand or fall together, so the resident (the cluster) is resampled, not the
question. A difference between two models is resampled on the same clusters for both (paired).

Sources: Efron, "Bootstrap Methods: Another Look at the Jackknife" (1979), percentile interval;
Wilson, "Probable Inference" (1927); Hanley and McNeil (1982) for AUROC as the Mann-Whitney statistic.
Left out: p-values and corrections for many comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES, SLOW_RESAMPLES = 2000, 500
BLOCK = 4_000_000
"""Cluster counts that are drawn at once: 32 MB."""


@dataclass(frozen=True)
class Interval:
    """A value with its confidence bounds; `n` observations in `clusters` independent groups."""

    value: float
    low: float
    high: float
    n: int
    clusters: int

    def to_dict(self) -> dict[str, Any]:
        return {key: None if isinstance(v, float) and math.isnan(v) else v for key, v in asdict(self).items()}

    def percent(self, digits: int = 1) -> str:
        """`87.5 % [84.0, 90.6]`."""
        if math.isnan(self.value):
            return "no data"
        value, low, high = (f"{100 * x:.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value} % [{low}, {high}]"


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The (weighted) mean of `values` and its percentile interval over resampled clusters.

    Without clusters every observation is its own. A mean is a ratio of two sums, so one matrix product of
    cluster counts (R, K) with cluster sums (K) serves all resamples at once.
    """
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.size == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    index, k = _cluster_index(clusters, x.size)
    sums = np.bincount(index, weights=x * w, minlength=k)  # (K)
    totals = np.bincount(index, weights=w, minlength=k)  # (K)
    chance = np.random.default_rng(seed)
    draws = chance.multinomial(k, np.full(k, 1.0 / k), size=resamples).astype(np.float64)  # (R, K)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (draws @ sums) / (draws @ totals)  # (R)
    low, high = _percentiles(means, confidence)
    return Interval(float(sums.sum() / totals.sum()), low, high, int(x.size), k)


def paired_bootstrap(
    ours: ArrayLike,
    theirs: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    weights: ArrayLike | None = None,
) -> Interval:
    """The (weighted) mean of `ours - theirs` on the same questions, with its interval over resampled clusters."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values must match: {a.shape[0]} of ours, {b.shape[0]} of theirs")
    return cluster_bootstrap(a - b, clusters, weights=weights)


def bootstrap_statistic(
    statistic: Callable[[NDArray[np.int64]], float],
    n: int,
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """Any `statistic(indices)` of n observations (AUROC, a ratio of rates) over resampled clusters; the slow way."""
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    index, k = _cluster_index(clusters, n)
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index, minlength=k))[:-1])
    rng = np.random.default_rng(seed)
    results = np.array(
        [
            statistic(np.concatenate([members[c] for c in rng.integers(0, k, size=k)]))
            for _ in range(SLOW_RESAMPLES)
        ]
    )
    low, high = _percentiles(results, 0.95)
    return Interval(float(statistic(np.arange(n))), low, high, n, k)


def sums_bootstrap(
    sums: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    clusters: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """A statistic of sums over observations (kappa and alpha are), over resampled clusters; the fast way.

    `sums` (N, S): what each observation adds; `statistic`: from totals (R, S) to values (R). A resample is a row of
    cluster counts, so its totals are one matrix product. A value that is not defined is nan and is left out of the
    interval.
    """
    x = np.asarray(sums, dtype=np.float64)
    if x.shape[0] == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    index, k = _cluster_index(clusters, x.shape[0])
    by_cluster = x
    if k < x.shape[0]:
        by_cluster = np.zeros((k, x.shape[1]))
        np.add.at(by_cluster, index, x)
    rng = np.random.default_rng(seed)
    kinds, counts = np.unique(
        by_cluster, axis=0, return_counts=True
    )  # (U, S): clusters with equal sums are one kind
    block = max(1, BLOCK // len(kinds))
    totals = [
        rng.multinomial(k, counts / k, size=min(block, resamples - at)).astype(np.float64) @ kinds
        for at in range(0, resamples, block)
    ]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(by_cluster.sum(axis=0, keepdims=True))[0])
        low, high = _percentiles(statistic(np.concatenate(totals)), confidence)
    return Interval(value, low, high, int(x.shape[0]), k)


def wilson(successes: float, n: int) -> Interval:
    """Wilson's score interval of a rate, at 95 %; honest at 0 and n of n, where the normal interval has no width.

    `successes` may be a sum of shares, each of which varies no more than a success or a failure does.
    """
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} cannot be")
    z = NormalDist().inv_cdf(0.975)
    p = successes / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, middle - half), min(1.0, middle + half), n, n)


_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t at 0.975 for 1 to 30 degrees of freedom."""


def student_interval(values: Sequence[float]) -> Interval:
    """The mean of a few independent values (seeds) with its 95 % interval by Student's t: mean ± t s / sqrt(n).

    One value has no interval: its bounds are nan.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        return Interval(float(x[0]) if x.size else math.nan, math.nan, math.nan, x.size, x.size)
    t = _T_975[x.size - 2] if x.size - 2 < len(_T_975) else NormalDist().inv_cdf(0.975)
    mean, half = float(x.mean()), t * float(x.std(ddof=1)) / math.sqrt(x.size)
    return Interval(mean, mean - half, mean + half, x.size, x.size)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """How often a random positive scores above a random negative (a tie counts half); nan without both kinds."""
    s, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if n_pos == 0 or n_neg == 0:
        return math.nan
    u = float(average_ranks(s)[positive].sum()) - n_pos * (n_pos + 1) / 2
    return u / (n_pos * n_neg)


def auroc_interval(
    scores: ArrayLike, labels: ArrayLike, clusters: Sequence[Hashable] | None = None
) -> Interval:
    s, positive = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    return bootstrap_statistic(lambda i: auroc(s[i], positive[i]), s.size, clusters)


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1, ties sharing their mean: [5, 1, 5] -> [2.5, 1, 2.5]."""
    x = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: NDArray[np.float64] = (last - (counts - 1) / 2).astype(np.float64)
    return shared[inverse]


def correlation(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's correlation; nan when either has no variance."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _cluster_index(clusters: Sequence[Hashable] | None, n: int) -> tuple[NDArray[np.int64], int]:
    if clusters is None:
        return np.arange(n), n
    if len(clusters) != n:
        raise ValueError(f"{n} values need {n} clusters, got {len(clusters)}")
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(c, len(number)) for c in clusters], dtype=np.int64)
    return index, len(number)


def _percentiles(results: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    results = results[~np.isnan(results)]
    if results.size == 0:
        return math.nan, math.nan
    low, high = np.quantile(results, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
