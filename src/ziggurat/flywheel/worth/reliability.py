"""How much the labels of each person are worth: a Bradley-Terry model with a reliability for each person.

A question is a pair of completions ("is the first better?") or one completion ("is it good?"). Its truth is unknown.

    P(truth of question s is yes)            = sigmoid(x_s · w)            Bradley-Terry: scores linear in features
    P(person k says what is true)            = r_k                        1 always right, 0.5 chance, 0 always inverted
    r_k                                      ~ Beta(a, b)                 most people are right most of the time

Known answers (gold items) count as questions whose truth is certain. The posterior of each r_k is computed on a grid.
What speaks for or against a label is cross-fitted: the labels of other people on the same question, and features whose
weights w were learned without the labels of this person's fold. Otherwise a model that has learned a person's labels
would find them all plausible. With few people who share no question, no gold and features that tell nothing, r_k stays
at its prior, and its interval says so.

Left out: a bias for each person and question type; scores of single completions apart from their features.
Sources: Dawid and Skene (1979); Chen et al., "Pairwise Ranking Aggregation in a Crowdsourced Setting" (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR = (4.0, 1.0)
"""a and b of the Beta prior: as if 5 answers were known, 4 of them right. A stronger one is slower to see an inverted
person (docs/flywheel.md has the figures)."""
FOLDS, ROUNDS, STEPS, SETTLED = 6, 20, 8, 1e-3
GRID: Floats = np.linspace(0.005, 0.995, 199)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """L labels of K people on S questions with F features."""

    person: Ints
    """(L)"""
    question: Ints
    """(L)"""
    says: Floats
    """(L) 1: yes (the first is better, it is good); -1: no."""
    share: Floats
    """(L) how much it counts as evidence about its person: 1 / pairs for a pair of a ranking."""
    features: Floats
    """(S, F)"""
    penalty: Floats
    """(F) of the squared weight of each feature."""
    people: int
    gold_right: Floats
    """(K) known items that the person answered right."""
    gold_wrong: Floats


@dataclass(frozen=True)
class Worth:
    """What the model says."""

    reliability: Floats
    """(K) posterior mean of r."""
    low: Floats
    high: Floats
    """(K) bounds of its 95 % interval."""
    inverted: Floats
    """(K) the probability that r is below 0.5."""
    right: Floats
    """(L) the probability that the label is true."""

    @property
    def weight(self) -> Floats:
        """(L) 2 p - 1, at least 0: a certain label counts 1, one that is as likely wrong counts nothing."""
        found: Floats = np.maximum(0.0, 2.0 * self.right - 1.0)
        return found


def fit(labels: Labels, *, prior: tuple[float, float] = PRIOR) -> Worth:
    """The posterior by alternating: reliabilities given what speaks for each label, then weights of features."""
    K, folds = labels.people, max(1, min(FOLDS, labels.people))
    fold = np.arange(K) % folds  # (K)
    r = np.full(K, prior[0] / sum(prior))
    tastes = [_Taste(labels, fold[labels.person] != g) for g in range(folds)]
    known = labels.gold_right[:, None] * np.log(GRID) + labels.gold_wrong[:, None] * np.log(
        1 - GRID
    )  # (K, G)
    known = known + (prior[0] - 1) * np.log(GRID) + (prior[1] - 1) * np.log(1 - GRID)
    posterior = _normalised(known)
    for _ in range(ROUNDS):
        said = labels.says * _log_odds(r)[labels.person]  # (L) evidence for yes that a label is
        w = np.stack([taste.learn(said) for taste in tastes])  # (folds, F)
        for_it = _support(labels, said, w, fold)  # (L) by everything but this person
        posterior = _normalised(known + _likelihood(labels, for_it))
        before, r = r, posterior @ GRID
        if np.abs(r - before).max() < SETTLED:
            break
    said = labels.says * _log_odds(r)[labels.person]
    right = _sigmoid(_log_odds_of(_support(labels, said, w, fold)) + _log_odds(r)[labels.person])
    cumulative = np.cumsum(posterior, axis=1)
    low, high = (GRID[np.argmax(cumulative >= bound, axis=1)] for bound in (0.025, 0.975))
    inverted: Floats = posterior[:, GRID < 0.5].sum(axis=1)
    return Worth(r, low, high, inverted, right)


def _support(labels: Labels, said: Floats, w: Floats, fold: Ints) -> Floats:
    """(L) the probability that a label is true, by other people's labels and by features."""
    total = _sums(labels.question, said, len(labels.features))  # (S)
    own = _own(labels, said)
    prior = (labels.features @ w.T)[labels.question, fold[labels.person]]  # (L)
    return _sigmoid(labels.says * (total[labels.question] - own + prior))


def _own(labels: Labels, said: Floats) -> Floats:
    """(L) what the same person said about the same question, in all."""
    key = labels.person * np.int64(len(labels.features) + 1) + labels.question
    _, inverse = np.unique(key, return_inverse=True)
    return _sums(inverse, said, 0)[inverse]


def _likelihood(labels: Labels, for_it: Floats) -> Floats:
    """(K, G) of each reliability on the grid: log of r a + (1 - r) (1 - a), summed over a person's labels."""
    a = for_it[:, None]
    each = labels.share[:, None] * np.log(GRID * a + (1 - GRID) * (1 - a))  # (L, G)
    found = np.zeros((labels.people, len(GRID)))
    np.add.at(found, labels.person, each)
    return found


class _Taste:
    """The weights of features by the labels of all people but one fold: penalised logistic regression on soft truths.

    Each step uses the largest curvature that there can be, p (1 - p) <= 1/4, so its matrix is inverted once (Böhning's
    bound): steps are cheap, and none overshoots.
    """

    def __init__(self, labels: Labels, used: NDArray[np.bool_]) -> None:
        self.used, self.question = used, labels.question[used]
        self.size, self.penalty = len(labels.features), labels.penalty
        asked = _sums(self.question, labels.share[used], self.size)
        self.rows = asked > 0
        self.X, self.count = labels.features[self.rows], np.minimum(asked[self.rows], 1.0)
        curve = 0.25 * (self.X * self.count[:, None]).T @ self.X + np.diag(labels.penalty)
        self.inverse: Floats = np.linalg.inv(curve).astype(np.float64)
        self.w: Floats = np.zeros(labels.features.shape[1])

    def learn(self, said: Floats) -> Floats:
        total = _sums(self.question, said[self.used], self.size)
        truth = _sigmoid(total[self.rows])
        for _ in range(STEPS):
            slope = self.X.T @ (self.count * (truth - _sigmoid(self.X @ self.w))) - self.penalty * self.w
            self.w = self.w + self.inverse @ slope
        return self.w


def _normalised(log: Floats) -> Floats:
    found = np.exp(log - log.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _log_odds(p: Floats) -> Floats:
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def _log_odds_of(p: Floats) -> Floats:
    return _log_odds(np.clip(p, 1e-9, 1 - 1e-9))


def _sums(places: Ints, weights: Floats, size: int) -> Floats:
    """The sum of the weights at each place."""
    found: NDArray[Any] = np.bincount(places, weights=weights, minlength=size)
    return found.astype(np.float64)


def _sigmoid(x: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found
