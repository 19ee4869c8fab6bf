"""Laws that predict a loss from size, data and compute, and how they are fitted.

    L(N, D) = E + A / N^a + B / D^b        N: parameters, D: tokens, L: nats a token
    L(C)    = E + A / C^a                  C: FLOPs of training, on the runs that spend them best

Both are one form: E plus a power term for each column of x. As published, the parameters minimise the Huber loss
(HUBER_DELTA) of log L, with E and the factors as logarithms, from a grid of starts; the best one is kept:

    log L^ = logsumexp(e, k_1 - a_1 log x_1, k_2 - a_2 log x_2)      E = exp(e), A = exp(k_1), B = exp(k_2)

Changed: L-BFGS is replaced by Gauss-Newton steps with damping (Levenberg-Marquardt) on residuals weighted by
min(1, delta / |residual|), which has the same minimum. All starts and all resamples are one array, so that 200
resamples take less than a second; a test compares with scipy's L-BFGS-B. Intervals resample runs, or groups of them
(the seeds of one setting).

With N and D tied by C = 6 N D, the least loss for C is at (Hoffmann et al., equation 4)

    N = G (C/6)^(b/(a+b))     D = (C/6)^(a/(a+b)) / G     G = (a A / (b B))^(1/(a+b))

Sources: Hoffmann et al. 2022 (arXiv:2203.15556, 3.3 and D.2), Kaplan et al. 2020 (arXiv:2001.08361, section 6 for
L(C); the offset E is Hoffmann's). Left out: laws of repeated data (arXiv:2305.16264), of the batch size and of the
learning rate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ziggurat.errors import UsageError

HUBER_DELTA = 1e-3
"""Of residuals of log L: errors above 0.1 % of the loss count linearly."""
EXPONENTS = (0.01, 3.0)
"""The range of a and b."""
START_EXPONENTS = (0.1, 0.3, 0.6, 1.0, 1.6)
START_OFFSETS = (0.0, 0.3, 0.6, 0.9)
"""E at the start, as a share of the smallest loss."""
STEPS, DRAW_STEPS = 400, 150
"""Of the minimisation: of the best starts, and of a resample, which begins at the fit."""
RESAMPLES = 200

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bounds:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Law:
    """E plus a factor / x^exponent for each column of x. `draws` are fits of resampled runs, for intervals.

    A draw is [e, k_1, .., a_1, ..] as in the module's text.
    """

    names: tuple[str, ...]
    """Of the columns: ("parameters", "tokens") or ("compute",)."""
    offset: float
    factors: tuple[float, ...]
    exponents: tuple[float, ...]
    huber: float
    """The mean Huber loss of the fit."""
    runs: int
    draws: tuple[tuple[float, ...], ...] = ()

    def loss(self, *x: float) -> float:
        """Predicted nats a token."""
        terms = (f / v**p for f, v, p in zip(self.factors, x, self.exponents, strict=True))
        return float(self.offset + sum(terms))

    def predict(self, *x: float) -> Bounds:
        """The prediction with its 95 % interval over the draws."""
        point = np.log(np.asarray(x, dtype=np.float64))[None, :]
        values = [float(np.exp(_log_loss(np.asarray(d)[None, :], point))[0, 0]) for d in self.draws]
        return _bounds(self.loss(*x), values)

    def constants(self) -> dict[str, Bounds]:
        """E, and the factor and exponent of each column, with intervals."""
        k = len(self.names)
        drawn = np.asarray(self.draws, dtype=np.float64).reshape(len(self.draws), 1 + 2 * k)
        found = {"E": _bounds(self.offset, np.exp(drawn[:, 0]))}
        for i, name in enumerate(self.names):
            found[f"factor of {name}"] = _bounds(self.factors[i], np.exp(drawn[:, 1 + i]))
            found[f"exponent of {name}"] = _bounds(self.exponents[i], drawn[:, 1 + k + i])
        return found

    def best_for(self, compute: float) -> tuple[float, float]:
        """(N, D) of the least loss for so many FLOPs, where C = 6 N D. Needs the law of parameters and tokens."""
        (a_n, b_d), (a, b) = self.factors, self.exponents
        g = (a * a_n / (b * b_d)) ** (1 / (a + b))
        return g * (compute / 6) ** (b / (a + b)), (compute / 6) ** (a / (a + b)) / g


def read_law(document: Mapping[str, Any]) -> Law:
    """The law that `asdict` made a document of."""
    lists = {key: tuple(document[key]) for key in ("names", "factors", "exponents")}
    draws = tuple(tuple(draw) for draw in document["draws"])
    return Law(**{**document, **lists, "draws": draws})


@dataclass(frozen=True)
class Choice:
    """A shape for a budget: its place among the candidates, the tokens that the budget pays, and the loss."""

    index: int
    tokens: float
    loss: Bounds


def choose_size(
    law: Law, candidates: Sequence[tuple[float, float]], compute: float, most_tokens: float = math.inf
) -> Choice:
    """The candidate with the least predicted loss for so many FLOPs.

    `candidates`: (parameters, FLOPs of training on a token) of real shapes, whose FLOPs are not quite 6 N.
    `most_tokens`: what the text has, with repetitions; a small shape then leaves a part of the FLOPs unused.
    """
    tokens = [min(compute / flops, most_tokens) for _, flops in candidates]
    losses = [law.loss(n, d) for (n, _), d in zip(candidates, tokens, strict=True)]
    best = int(np.argmin(losses))
    return Choice(best, tokens[best], law.predict(candidates[best][0], tokens[best]))


def fit_law(
    names: Sequence[str],
    x: ArrayLike,
    loss: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int | None = None,
    seed: int = 0,
    delta: float = HUBER_DELTA,
) -> Law:
    """Fit the law to runs: x (n, K), one column for each of `names`; loss (n,) in nats a token.

    `groups`: runs that are resampled together. `resamples`: default RESAMPLES.
    Raises UsageError for fewer runs than constants, or for a column that never changes.
    """
    points, y = np.log(np.asarray(x, dtype=np.float64)), np.log(np.asarray(loss, dtype=np.float64))
    n, k = points.shape
    if n < 2 * k + 1:
        raise UsageError(
            f"{n} runs are too few for a law of {' and '.join(names)}, which has {2 * k + 1} constants; train more "
            "sizes (--sizes) or more amounts of data (--tokens-per-parameter)."
        )
    for name, column in zip(names, points.T, strict=True):
        if np.ptp(column) < 1e-9:
            raise UsageError(f"all runs have the same {name}, so no law of it can be fitted; vary it.")
    found, cost = _starts(points, y), np.empty(0)
    for steps, tolerance, kept in ((40, 1e-6, 8), (STEPS, 1e-12, 1)):
        found, cost = _minimise(
            found, points, y, np.ones((len(found), n)), delta, steps=steps, tolerance=tolerance
        )
        order = np.argsort(cost)[:kept]
        found, cost = found[order], cost[order]
    best = found[0]
    draws: Array = np.empty((0, 1 + 2 * k))
    if resamples := RESAMPLES if resamples is None else resamples:
        weights = _resampled(n, groups, resamples, seed)
        again = np.repeat(best[None], len(weights), axis=0)
        draws, _ = _minimise(again, points, y, weights, delta, steps=DRAW_STEPS, tolerance=1e-6)
    return Law(
        tuple(names),
        math.exp(best[0]),
        tuple(float(v) for v in np.exp(best[1 : 1 + k])),
        tuple(float(v) for v in best[1 + k :]),
        float(np.min(cost)) / n,
        n,
        tuple(tuple(float(v) for v in row) for row in draws),
    )


@dataclass(frozen=True)
class Line:
    """loss = intercept + slope * log10(x), by least squares."""

    slope: float
    intercept: float
    r2: float


def log_linear(x: ArrayLike, loss: ArrayLike) -> Line:
    """Loss against the logarithm of a size: "ability is log-linear in parameters" (Kaplan et al. 2020)."""
    log_x, y = np.log10(np.asarray(x, dtype=np.float64)), np.asarray(loss, dtype=np.float64)
    slope, intercept = np.polyfit(log_x, y, 1)
    return Line(float(slope), float(intercept), r_squared(y, slope * log_x + intercept))


def r_squared(measured: ArrayLike, predicted: ArrayLike) -> float:
    """1 - (sum of squared errors) / (sum of squared deviations from the mean)."""
    y, guess = np.asarray(measured, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    return float(1 - np.sum((y - guess) ** 2) / np.sum((y - y.mean()) ** 2))


def frontier(compute: Sequence[float], loss: Sequence[float]) -> list[int]:
    """Indices of the runs that no run with as little compute beats, cheapest first."""
    best, kept = math.inf, []
    for i in sorted(range(len(loss)), key=lambda i: (compute[i], loss[i])):
        if loss[i] < best:
            best = loss[i]
            kept.append(i)
    return kept


# --- the fit ----------------------------------------------------------------------------------------------------------


def _log_loss(theta: Array, points: Array) -> Array:
    """theta (R, 1+2K), points (n, K) -> log L^ (R, n)."""
    return np.asarray(np.logaddexp.reduce(_terms(theta, points), axis=2))


def _terms(theta: Array, points: Array) -> Array:
    """Logarithms of the terms, (R, n, 1+K)."""
    k, n = points.shape[1], len(points)
    powers = theta[:, None, 1 : 1 + k] - theta[:, None, 1 + k :] * points[None]  # (R, n, K)
    return np.concatenate([np.broadcast_to(theta[:, None, :1], (len(theta), n, 1)), powers], axis=2)


def _huber(residual: Array, delta: float) -> Array:
    size = np.abs(residual)
    return np.where(size <= delta, 0.5 * residual**2, delta * (size - 0.5 * delta))


def _starts(points: Array, y: Array) -> Array:
    """For each grid point of exponents and E, the factors that share the rest of the loss equally, in the middle."""
    k, middle = points.shape[1], points.mean(axis=0)
    rows = []
    for share in START_OFFSETS:
        offset = share * math.exp(y.min())
        rest = math.log(max(math.exp(y.mean()) - offset, 1e-3) / k)
        for exponents in itertools.product(START_EXPONENTS, repeat=k):
            a = np.asarray(exponents)
            rows.append([math.log(max(offset, 1e-3)), *(rest + a * middle), *a])
    return np.asarray(rows)


def _minimise(
    theta: Array, points: Array, y: Array, weights: Array, delta: float, *, steps: int, tolerance: float
) -> tuple[Array, Array]:
    """Levenberg-Marquardt for every row of theta (R, P) at once; weights (R, n). Returns theta and its cost (R,).

    A row is done when a step lowers its cost by less than `tolerance` of it, or when no step does.
    """
    k = points.shape[1]
    low = np.array([math.log(1e-3), *[-np.inf] * k, *[EXPONENTS[0]] * k])
    high = np.array([y.min(), *[np.inf] * k, *[EXPONENTS[1]] * k])
    theta = np.clip(theta, low, high)
    cost = _cost(theta, points, y, weights, delta)
    damping, left = np.full(len(theta), 1e-2), np.arange(len(theta))
    for _ in range(steps):
        now, w = theta[left], weights[left]
        step = _step(now, points, y, w, delta, damping[left], low, high)
        tried = np.clip(now - step, low, high)
        then = _cost(tried, points, y, w, delta)
        better = then < cost[left]
        gained = np.where(better, cost[left] - then, 0.0)
        small = gained <= tolerance * cost[left]
        theta[left[better]], cost[left[better]] = tried[better], then[better]
        damping[left] = np.where(better, damping[left] / 4, damping[left] * 6)
        left = left[~(small & better | (damping[left] > 1e9))]
        if not len(left):
            break
    return theta, cost


def _cost(theta: Array, points: Array, y: Array, weights: Array, delta: float) -> Array:
    return np.asarray((weights * _huber(_log_loss(theta, points) - y, delta)).sum(axis=1))


def _step(
    theta: Array,
    points: Array,
    y: Array,
    weights: Array,
    delta: float,
    damping: Array,
    low: Array,
    high: Array,
) -> Array:
    """The damped Gauss-Newton step of every row, (R, P); a constant that would leave its bound stays there."""
    terms = _terms(theta, points)
    log_loss = np.logaddexp.reduce(terms, axis=2)
    residual = log_loss - y
    share = np.exp(terms - log_loss[..., None])  # (R, n, 1+K): d log L^ / d term
    jacobian = np.concatenate([share, -share[..., 1:] * points[None]], axis=2)  # (R, n, P)
    w = weights * np.minimum(1.0, delta / np.maximum(np.abs(residual), 1e-300))
    weighted = (jacobian * w[..., None]).swapaxes(1, 2)  # (R, P, n)
    gradient = (weighted @ residual[..., None])[..., 0]
    free = ~(((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0)))
    hessian = (weighted @ jacobian) * free[:, :, None] * free[:, None, :]
    added = damping[:, None] * np.einsum("rpp->rp", hessian) + np.where(free, 1e-14, 1.0)
    hessian += added[:, :, None] * np.eye(theta.shape[1])
    return np.asarray(np.linalg.solve(hessian, (gradient * free)[..., None])[..., 0])


def _resampled(n: int, groups: Sequence[Hashable] | None, resamples: int, seed: int) -> Array:
    """How often each run is drawn, (R, n): groups are drawn with replacement."""
    index = {g: i for i, g in enumerate(dict.fromkeys(groups if groups is not None else range(n)))}
    of = np.array([index[g] for g in (groups if groups is not None else range(n))])
    k = len(index)
    chance = np.random.default_rng(seed)
    return chance.multinomial(k, np.full(k, 1 / k), size=resamples).astype(np.float64)[:, of]


def _bounds(value: float, drawn: ArrayLike) -> Bounds:
    values = np.asarray(drawn, dtype=np.float64)
    if values.size == 0:
        return Bounds(value, math.nan, math.nan)
    low, high = np.percentile(values, (2.5, 97.5))
    return Bounds(value, float(low), float(high))
