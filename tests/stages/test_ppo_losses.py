"""Clipping, KL, the controller of beta, and the pairwise loss with ties, on numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ziggurat.stages.ppo_losses import (
    clipped_policy_loss,
    clipped_value_loss,
    entropy,
    exact_kl,
    pairwise_loss,
    steer_beta,
    token_logp,
    untied_pairs,
)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient_flows"),
    [
        (1.5, 1.0, -1.2, False),  # far enough in a good direction: no reason to go on
        (1.5, -1.0, 1.5, True),  # far in a bad direction: it must come back
        (0.5, -1.0, 0.8, False),
        (0.5, 1.0, -0.5, True),
        (1.1, 2.0, -2.2, True),  # inside the clip
    ],
)
def test_policy_clipping(ratio: float, advantage: float, loss: float, gradient_flows: bool) -> None:
    """clip 0.2: -min(ratio*A, clip(ratio, 0.8, 1.2)*A)."""
    logp = torch.tensor([math.log(ratio)], requires_grad=True)
    found, clipped = clipped_policy_loss(logp, torch.zeros(1), torch.tensor([advantage]), 0.2)
    found.backward()
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert bool(logp.grad != 0) is gradient_flows
    assert int(clipped) == (not gradient_flows)


@pytest.mark.parametrize(
    ("value", "old", "wanted", "loss", "clipped"),
    [
        (1.0, 0.5, 2.0, 0.845, 1),  # clipped to 0.7: (0.7 - 2)^2 / 2 = 0.845 > 0.5
        (1.0, 0.5, 0.0, 0.5, 0),  # (1 - 0)^2 / 2 = 0.5 > 0.245
        (0.6, 0.5, 1.0, 0.08, 0),  # inside the clip: (0.6 - 1)^2 / 2
    ],
)
def test_value_clipping(value: float, old: float, wanted: float, loss: float, clipped: int) -> None:
    found, count = clipped_value_loss(torch.tensor([value]), torch.tensor([old]), torch.tensor([wanted]), 0.2)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert int(count) == clipped


def test_token_logp_is_the_log_of_the_softmax() -> None:
    """Logits 0 and log 3: probabilities 1/4 and 3/4."""
    logits = torch.tensor([[0.0, math.log(3.0)]])
    assert token_logp(logits, torch.tensor([1])).item() == pytest.approx(math.log(0.75))


def test_exact_kl_and_entropy_worked_by_hand() -> None:
    """p = (1/2, 1/2), q = (1/4, 3/4): KL = 1/2 ln 2 + 1/2 ln(2/3) = 0.14384; entropy of p = ln 2."""
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    assert exact_kl(p, q).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert exact_kl(p, p).item() == 0.0
    assert entropy(p).item() == pytest.approx(math.log(2))


def test_exact_kl_is_what_the_sampled_log_ratio_averages_to() -> None:
    """The estimator log p(a) - log q(a), a drawn from p, over all a with their probabilities."""
    p, q = torch.randn(4, 9).log_softmax(-1), torch.randn(4, 9).log_softmax(-1)
    assert torch.allclose(exact_kl(p, q), (p.exp() * (p - q)).sum(-1), atol=1e-6)


def test_beta_follows_the_kl() -> None:
    """0.1 * (1 + 0.5 * 0.2) at twice the target (the error is clipped at 0.2); 0.1 * 0.9 at none; bounds hold."""
    bounds = {"gain": 0.5, "beta_min": 0.01, "beta_max": 1.0}
    assert steer_beta(0.1, 12.0, 6.0, **bounds) == pytest.approx(0.11)
    assert steer_beta(0.1, 0.0, 6.0, **bounds) == pytest.approx(0.09)
    assert steer_beta(0.1, 6.6, 6.0, **bounds) == pytest.approx(0.105)
    assert steer_beta(0.01, 0.0, 6.0, **bounds) == 0.01
    assert steer_beta(1.0, 99.0, 6.0, **bounds) == 1.0
    assert steer_beta(0.1, 99.0, 0.0, **bounds) == 0.1


def test_untied_pairs_name_the_better_first() -> None:
    assert untied_pairs([1, 2, 2]) == [(0, 1), (0, 2)]
    assert untied_pairs([2, 1]) == [(1, 0)]
    assert untied_pairs([1, 1, 1]) == []


def test_pairwise_loss_is_the_mean_over_untied_pairs_of_one_comparison() -> None:
    """Ranks 1 2 2, rewards 1 0 0: two pairs that differ by 1, mean log(1 + 1/e) = 0.31326; one element."""
    loss, count = pairwise_loss(torch.tensor([1.0, 0.0, 0.0]), [[1, 2, 2]])
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert count == 1


def test_a_comparison_weighs_the_same_whatever_its_k() -> None:
    """K = 2 and K = 4 with equal rewards: log 2 each, though one has 1 pair and the other 6."""
    loss, count = pairwise_loss(torch.zeros(6), [[1, 2], [1, 2, 3, 4]])
    assert loss.item() == pytest.approx(2 * math.log(2))
    assert count == 2


def test_an_all_tied_comparison_counts_nothing() -> None:
    """Neither loss nor gradient, and no 0/0."""
    rewards = torch.tensor([3.0, -1.0, 1.0, 0.0], requires_grad=True)
    loss, count = pairwise_loss(rewards, [[1, 1], [1, 2]])
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert count == 1
    assert rewards.grad is not None
    assert rewards.grad[:2].tolist() == [0.0, 0.0]
    only_ties, none = pairwise_loss(torch.tensor([1.0, 2.0], requires_grad=True), [[1, 1]])
    assert (only_ties.item(), none) == (0.0, 0)
