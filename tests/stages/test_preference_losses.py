"""DPO's losses on numbers worked by hand, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ziggurat.errors import ConfigError
from ziggurat.settings import resolve
from ziggurat.stages.dpo_config import DPOConfig
from ziggurat.stages.preference_losses import Preference, log_odds, preference_loss

LOGP = torch.tensor([-2.0, -4.0])
REFERENCE = torch.tensor([-3.0, -3.0])
LENGTHS = torch.tensor([4, 2])


def loss_of(kind: Preference, logp: Tensor = LOGP, ranks: tuple[int, ...] = (1, 2)) -> float:
    total, count, _ = preference_loss(logp, REFERENCE, LENGTHS, [list(ranks)], kind)
    assert count == 1
    return float(total)


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize(
    ("kind", "by_hand"),
    [
        # log-ratios 1 and -1: h = beta · 2
        (Preference(beta=0.5), softplus(-1)),
        (Preference(beta=0.5, label_smoothing=0.1), 0.9 * softplus(-1) + 0.1 * softplus(1)),
        (Preference(beta=0.5, margin=1.0), softplus(0)),
        # per token: 1/4 and -1/2, so h = 0.5 · 0.75
        (Preference(beta=0.5, length_normalised=True), softplus(-0.375)),
        # SimPO: -2/4 and -4/2, h = 2 · 1.5 - 1
        (Preference(beta=2.0, margin=1.0, length_normalised=True, reference_free=True), softplus(-2)),
        (Preference("hinge", beta=0.1), 0.8),
        (Preference("hinge", beta=1.0), 0.0),
        # IPO: log-ratio 2 against 1 / (2 · 0.1) = 5
        (Preference("ipo", beta=0.1), 9.0),
        # ORPO: P = e^-0.5 and e^-2, nll 0.5
        (
            Preference("odds_ratio", beta=0.2, nll_weight=1.0),
            0.5
            + 0.2
            * softplus(
                math.log(math.exp(-2) / (1 - math.exp(-2))) - math.log(math.exp(-0.5) / (1 - math.exp(-0.5)))
            ),
        ),
    ],
)
def test_each_loss_is_the_hand_worked_number(kind: Preference, by_hand: float) -> None:
    assert loss_of(kind) == pytest.approx(by_hand, abs=1e-6)


def test_a_policy_at_its_reference_costs_log_2_and_is_right_half_the_time() -> None:
    total, count, metrics = preference_loss(REFERENCE, REFERENCE, LENGTHS, [[1, 2]], Preference())
    assert (float(total), count) == (pytest.approx(math.log(2)), 1)
    assert float(metrics["accuracy"]) == 0.5


def test_a_ranking_of_four_counts_once_by_all_its_pairs() -> None:
    """Ranks 2 1 1 3, rewards 0 1 2 3: untied pairs 1>0, 2>0, 0>3, 1>3, 2>3 with h 1, 2, -3, -2, -1."""
    logp = torch.tensor([0.0, 1.0, 2.0, 3.0])
    kind = Preference(beta=1.0)
    total, count, metrics = preference_loss(
        logp, torch.zeros(4), torch.ones(4, dtype=torch.long), [[2, 1, 1, 3]], kind
    )
    by_hand = sum(softplus(-h) for h in (1, 2, -3, -2, -1)) / 5
    assert (float(total), count) == (pytest.approx(by_hand), 1)
    assert float(metrics["accuracy"]) == pytest.approx(2 / 5)
    assert float(metrics["reward_margin"]) == pytest.approx(-3 / 5)


def test_imitation_is_of_the_best_completions_alone() -> None:
    """nll_weight 3: the best is completion 0 with 4 tokens, so 3 · 2 / 4; of two best ones, the mean."""
    plain, more = Preference(beta=0.5), Preference(beta=0.5, nll_weight=3.0)
    assert loss_of(more) - loss_of(plain) == pytest.approx(1.5)
    logp, zeros, ones = torch.tensor([-1.0, -3.0, -9.0]), torch.zeros(3), torch.ones(3)
    two = [preference_loss(logp, zeros, ones, [[1, 1, 2]], kind)[0] for kind in (plain, more)]
    assert float(two[1] - two[0]) == pytest.approx(3 * 2.0)


def test_a_comparison_that_is_tied_throughout_counts_nothing() -> None:
    total, count, metrics = preference_loss(LOGP, REFERENCE, LENGTHS, [[1, 1]], Preference(nll_weight=1.0))
    assert (float(total), count, metrics) == (0.0, 0, {})


def test_log_odds_are_exact_also_near_certainty() -> None:
    assert float(log_odds(torch.tensor(math.log(0.8)), torch.tensor(1))) == pytest.approx(
        math.log(4), abs=1e-6
    )
    assert math.isfinite(float(log_odds(torch.tensor(0.0), torch.tensor(1))))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"loss": "ipo", "label_smoothing": 0.1}, "but the loss ipo has none"),
        ({"loss": "odds_ratio"}, "set nll_weight to 1"),
        ({"loss": "odds_ratio", "nll_weight": 1, "margin": 1}, "margin is 1, but odds_ratio has none"),
        ({"loss": "sigmoit"}, "'sigmoid'"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(DPOConfig, ("--set", settings))
    assert sentence in str(caught.value)
