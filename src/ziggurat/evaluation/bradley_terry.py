"""Strengths of players from battles: Bradley-Terry by maximum likelihood, with bootstrap intervals and style control.

    P(a beats b) = sigmoid(s_a - s_b + c . (x_a - x_b))

`s` are strengths (their mean is 0), `x` are covariates of the two answers, such as their lengths, and `c` says how much
each of them wins votes by itself: with style control, strengths are those of answers of equal style. A tie, and "both
are bad", is half a win for each. A small ridge keeps a player that always wins at a finite strength. Elo stands beside
it: the mean over many orders of the battles, so that it does not depend on the order in which votes came.

Sources: Bradley and Terry, "Rank Analysis of Incomplete Block Designs" (1952); Chiang et al., "Chatbot Arena"
(arXiv:2403.04132) for the intervals and style control. Left out: a strength for drawing (Rao and Kupper).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Winner = Literal["a", "b", "tie", "both_bad"]
Floats = NDArray[np.float64]

SCALE, CENTRE = 400.0 / math.log(10.0), 1000.0
"""Of the scale that chess made known: 400 points are odds of 10 to 1."""
RIDGE = 1e-3
"""Weight of the squared strengths in the loss, in battles: far below one vote."""
RESAMPLES = 300
ELO_K, ELO_ORDERS = 4.0, 100
STEPS = 50
SCORES: dict[str, float] = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True)
class Battle:
    """One vote. `style`: covariates of a minus those of b, in a fixed order; empty without style control."""

    a: str
    b: str
    winner: Winner
    style: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rating:
    """One player. Ratings are `CENTRE` on average; `wins` counts a tie as a half."""

    name: str
    rating: float
    low: float
    high: float
    elo: float
    battles: int
    wins: float
    rank: int
    """1 plus the players whose interval lies wholly above this one's."""


@dataclass(frozen=True)
class Fitted:
    """Strengths by name, in natural units, and the weight of each standardised covariate."""

    strengths: dict[str, float]
    style: tuple[float, ...]


def fit(battles: Sequence[Battle], *, ridge: float = RIDGE) -> Fitted:
    """The strengths that make these votes most likely."""
    names, design, scores, counts = _design(battles)
    if not names:
        return Fitted({}, ())
    found = _solve(design, scores, counts, ridge, len(names))
    strengths = found[: len(names)] - found[: len(names)].mean()
    return Fitted(
        dict(zip(names, map(float, strengths), strict=True)), tuple(map(float, found[len(names) :]))
    )


def ratings(
    battles: Sequence[Battle], *, ridge: float = RIDGE, resamples: int = RESAMPLES, seed: int = 0
) -> list[Rating]:
    """All players, the strongest first, with percentile intervals of 95 % over resampled battles."""
    names, design, scores, counts = _design(battles)
    if not names:
        return []
    n, total = len(names), int(counts.sum())

    def strengths(weights: Floats, start: Floats | None = None) -> Floats:
        return _solve(design, scores, weights, ridge, n, start)

    whole = strengths(counts)
    drawn = np.random.default_rng(seed).multinomial(total, counts / total, size=resamples)
    samples = np.stack([strengths(one.astype(np.float64), whole)[:n] for one in drawn])  # (R, n)
    samples -= samples.mean(axis=1, keepdims=True)
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    middle = whole[:n] - whole[:n].mean()
    by_elo = elo(battles, seed=seed)
    found = []
    for at, name in enumerate(names):
        mine = [one for one in battles if name in (one.a, one.b)]
        won = sum(SCORES[one.winner] if one.a == name else 1 - SCORES[one.winner] for one in mine)
        found.append(
            Rating(
                name=name,
                rating=CENTRE + SCALE * float(middle[at]),
                low=CENTRE + SCALE * float(min(low[at], middle[at])),
                high=CENTRE + SCALE * float(max(high[at], middle[at])),
                elo=by_elo[name],
                battles=len(mine),
                wins=float(won),
                rank=1 + int(sum(low[other] > high[at] for other in range(n))),
            )
        )
    return sorted(found, key=lambda one: (-one.rating, one.name))


def elo(
    battles: Sequence[Battle], *, k: float = ELO_K, orders: int = ELO_ORDERS, seed: int = 0
) -> dict[str, float]:
    """Elo's ratings, as the mean over random orders of the battles. The battles are sorted first, so that the figure is
    the same in whatever order they are given."""
    given = sorted(battles, key=lambda one: (one.a, one.b, one.winner, one.style))
    names = sorted({name for one in given for name in (one.a, one.b)})
    number = {name: at for at, name in enumerate(names)}
    a = [number[one.a] for one in given]
    b = [number[one.b] for one in given]
    scores = [SCORES[one.winner] for one in given]
    total, chance = np.zeros(len(names)), np.random.default_rng(seed)
    for _ in range(orders):
        now = [CENTRE] * len(names)
        for i in chance.permutation(len(given)):
            expected = 1 / (1 + 10 ** ((now[b[i]] - now[a[i]]) / 400))
            change = k * (scores[i] - expected)
            now[a[i]] += change
            now[b[i]] -= change
        total += now
    return {name: float(total[at] / orders) for at, name in enumerate(names)}


def win_matrix(battles: Sequence[Battle]) -> dict[str, dict[str, tuple[float, int]]]:
    """(wins of the row over the column with ties as halves, battles) of each pair that met."""
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for one in battles:
        score = SCORES[one.winner]
        for name, other, won in ((one.a, one.b, score), (one.b, one.a, 1 - score)):
            before, met = found.setdefault(name, {}).get(other, (0.0, 0))
            found[name][other] = (before + won, met + 1)
    return found


def standardised(rows: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Covariates divided by their standard deviation over all battles, so that the ridge treats them alike. They are
    differences, so their mean stays: 0 is "equal in style"."""
    if not rows:
        return []
    x = np.asarray(rows, dtype=np.float64)
    spread = x.std(axis=0)
    scaled = x / np.where(spread > 0, spread, 1.0)
    return [tuple(map(float, row)) for row in scaled]


def _design(battles: Sequence[Battle]) -> tuple[list[str], Floats, Floats, Floats]:
    """(names, design (rows, players + covariates), score of a, battles of each row): equal battles are one row. One of
    a player against itself says nothing."""
    real = [one for one in battles if one.a != one.b]
    names = sorted({name for one in real for name in (one.a, one.b)})
    number = {name: at for at, name in enumerate(names)}
    width = len(real[0].style) if real else 0
    design = np.zeros((len(real), len(names) + width))
    for row, one in enumerate(real):
        if len(one.style) != width:
            raise ValueError(f"every battle needs the same covariates; one has {len(one.style)}, not {width}")
        design[row, number[one.a]], design[row, number[one.b]] = 1.0, -1.0
        design[row, len(names) :] = one.style
    scores = np.array([SCORES[one.winner] for one in real])
    rows, counts = np.unique(np.column_stack([design, scores]), axis=0, return_counts=True)
    return names, rows[:, :-1], rows[:, -1], counts.astype(np.float64)


def _solve(
    design: Floats, scores: Floats, weights: Floats, ridge: float, players: int, start: Floats | None = None
) -> Floats:
    """Newton's method on  sum w (log(1 + e^z) - y z) + ridge / 2 |s|^2,  z = design @ s, which is convex. A step that
    does not lower the loss is halved."""
    size = design.shape[1]
    at = np.zeros(size) if start is None else start.copy()
    penalty = np.full(size, ridge)
    penalty[players:] = max(ridge, 1e-9)

    def loss(s: Floats) -> float:
        z = design @ s
        return float((weights * (np.logaddexp(0, z) - scores * z)).sum() + 0.5 * (penalty * s * s).sum())

    now = loss(at)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(design @ at)))
        gradient = design.T @ (weights * (p - scores)) + penalty * at
        curvature = (design * (weights * p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while (after := loss(at - share * step)) > now and share > 1e-6:
            share /= 2
        at = at - share * step
        if float(np.abs(share * step).max()) < 1e-10:
            break
        now = after
    return at
