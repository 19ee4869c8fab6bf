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

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRIOR = (8.0, 2.0)
"""a and b of the Beta prior: as if 10 answers were known, 8 of them right."""
FOLDS, ROUNDS, NEWTON_STEPS = 8, 15, 4
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
    w = np.zeros((folds, labels.features.shape[1]))
    known = labels.gold_right[:, None] * np.log(GRID) + labels.gold_wrong[:, None] * np.log(
        1 - GRID
    )  # (K, G)
    known = known + (prior[0] - 1) * np.log(GRID) + (prior[1] - 1) * np.log(1 - GRID)
    posterior = _normalised(known)
    for _ in range(ROUNDS):
        said = labels.says * _log_odds(r)[labels.person]  # (L) evidence for yes that a label is
        w = np.stack([_weights(labels, said, fold[labels.person] != g, w[g]) for g in range(folds)])
        for_it = _support(labels, said, w, fold)  # (L) by everything but this person
        posterior = _normalised(known + _likelihood(labels, for_it))
        r = posterior @ GRID
    said = labels.says * _log_odds(r)[labels.person]
    right = _sigmoid(_log_odds_of(_support(labels, said, w, fold)) + _log_odds(r)[labels.person])
    cumulative = np.cumsum(posterior, axis=1)
    low, high = (GRID[np.argmax(cumulative >= bound, axis=1)] for bound in (0.025, 0.975))
    return Worth(r, low, high, right)


def _support(labels: Labels, said: Floats, w: Floats, fold: Ints) -> Floats:
    """(L) the probability that a label is true, by other people's labels and by features."""
    total: Floats = np.bincount(labels.question, weights=said, minlength=len(labels.features))  # (S)
    own = _own(labels, said)
    prior = (labels.features @ w.T)[labels.question, fold[labels.person]]  # (L)
    return _sigmoid(labels.says * (total[labels.question] - own + prior))


def _own(labels: Labels, said: Floats) -> Floats:
    """(L) what the same person said about the same question, in all."""
    key = labels.person * np.int64(len(labels.features) + 1) + labels.question
    _, inverse = np.unique(key, return_inverse=True)
    found: Floats = np.bincount(inverse, weights=said)[inverse]
    return found


def _likelihood(labels: Labels, for_it: Floats) -> Floats:
    """(K, G) of each reliability on the grid: log of r a + (1 - r) (1 - a), summed over a person's labels."""
    a = for_it[:, None]
    each = labels.share[:, None] * np.log(GRID * a + (1 - GRID) * (1 - a))  # (L, G)
    found = np.zeros((labels.people, len(GRID)))
    np.add.at(found, labels.person, each)
    return found


def _weights(labels: Labels, said: Floats, used: NDArray[np.bool_], w: Floats) -> Floats:
    """The weights of features by the labels that are `used`: penalised logistic regression on soft truths."""
    if not used.any():
        return w
    S = len(labels.features)
    total: Floats = np.bincount(labels.question[used], weights=said[used], minlength=S)
    asked: Floats = np.bincount(labels.question[used], weights=labels.share[used], minlength=S)
    rows = asked > 0
    X, truth, count = labels.features[rows], _sigmoid(total[rows]), np.minimum(asked[rows], 1.0)
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(X @ w)
        slope = X.T @ (count * (truth - p)) - labels.penalty * w
        curve = (X * (count * p * (1 - p))[:, None]).T @ X + np.diag(labels.penalty)
        w = w + np.linalg.solve(curve, slope)
    return w


def _normalised(log: Floats) -> Floats:
    found = np.exp(log - log.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _log_odds(p: Floats) -> Floats:
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def _log_odds_of(p: Floats) -> Floats:
    return _log_odds(np.clip(p, 1e-9, 1 - 1e-9))


def _sigmoid(x: Floats) -> Floats:
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * x))
    return found
