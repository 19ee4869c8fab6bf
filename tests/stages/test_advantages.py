"""GAE, value alignment, whitening and token rewards, on numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ziggurat.stages.advantages import (
    explained_variance,
    gae,
    masked_mean,
    masked_whiten,
    token_rewards,
)


def test_gae_of_three_tokens_worked_by_hand() -> None:
    """gamma 1, lambda 0.5, rewards 0 0 1, values 0.5 0.25 0.5: deltas -0.25 0.25 0.5.

    A2 = 0.5; A1 = 0.25 + 0.5*0.5 = 0.5; A0 = -0.25 + 0.5*0.5 = 0.
    """
    found = gae(
        torch.tensor([[0.0, 0.0, 1.0]]),
        torch.tensor([[0.5, 0.25, 0.5]]),
        torch.ones(1, 3, dtype=torch.bool),
        gamma=1.0,
        lam=0.5,
    )
    assert torch.equal(found, torch.tensor([[0.0, 0.5, 0.5]]))


def test_gae_with_discount_worked_by_hand() -> None:
    """gamma 0.5, lambda 0.5, rewards 1 2, values 2 4: delta1 = 2 - 4 = -2; delta0 = 1 + 0.5*4 - 2 = 1.

    A1 = -2; A0 = 1 + 0.25*(-2) = 0.5.
    """
    found = gae(
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[2.0, 4.0]]),
        torch.ones(1, 2, dtype=torch.bool),
        gamma=0.5,
        lam=0.5,
    )
    assert torch.equal(found, torch.tensor([[0.5, -2.0]]))


def test_a_padded_row_has_the_advantages_of_the_same_row_alone() -> None:
    """Whatever stands in the padding (99 here) must not leak into the tokens before it."""
    rewards = torch.tensor([[0.0, 1.0, 99.0], [0.0, 0.0, 1.0]])
    values = torch.tensor([[0.5, 0.25, 99.0], [0.5, 0.25, 0.5]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    together = gae(rewards, values, mask, gamma=1.0, lam=0.95)
    alone = gae(rewards[:1, :2], values[:1, :2], mask[:1, :2], gamma=1.0, lam=0.95)
    assert torch.equal(together[:1, :2], alone)
    assert together[0, 2] == 0.0


def test_lambda_one_is_return_minus_value() -> None:
    """With gamma = lambda = 1 the sum telescopes: A_t = (sum of rewards from t on) - V_t."""
    rewards, values = torch.randn(3, 5), torch.randn(3, 5)
    found = gae(rewards, values, torch.ones(3, 5, dtype=torch.bool), gamma=1.0, lam=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    assert torch.allclose(found, to_go - values, atol=1e-5)


def test_the_value_after_the_last_token_is_zero() -> None:
    """A cut-off completion is over as well: a single token, reward 3, value 1 gives 3 - 1, with no bootstrap."""
    found = gae(torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.tensor([[True]]), gamma=1.0, lam=0.95)
    assert found.item() == 2.0


def test_whitening_ignores_padding() -> None:
    """1 and 3 (padding 100): mean 2, variance 1, so -1, 1 and 0."""
    found = masked_whiten(torch.tensor([[1.0, 3.0, 100.0]]), torch.tensor([[True, True, False]]))
    assert torch.allclose(found, torch.tensor([[-1.0, 1.0, 0.0]]), atol=1e-6)


def test_whitening_is_over_the_whole_batch_not_each_row() -> None:
    """Rows (0, 0) and (2, 2): mean 1, deviation 1. Row by row both would vanish."""
    found = masked_whiten(torch.tensor([[0.0, 0.0], [2.0, 2.0]]), torch.ones(2, 2, dtype=torch.bool))
    assert torch.allclose(found, torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), atol=1e-6)


def test_equal_advantages_whiten_to_zero() -> None:
    found = masked_whiten(torch.full((2, 2), 7.0), torch.ones(2, 2, dtype=torch.bool))
    assert torch.equal(found, torch.zeros(2, 2))


def test_masked_mean_of_nothing_is_zero() -> None:
    assert masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool)).item() == 0.0


def test_score_lands_on_the_last_token_and_kl_on_every_token() -> None:
    """beta 0.1, log-ratios 1 2 (and 9 in the padding), score 5: -0.1, 5 - 0.2, 0. The long row gets -0.1 -0.1 -3.1."""
    found = token_rewards(
        torch.tensor([[1.0, 2.0, 9.0], [1.0, 1.0, 1.0]]),
        torch.tensor([5.0, -3.0]),
        torch.tensor([[True, True, False], [True, True, True]]),
        beta=0.1,
    )
    assert torch.allclose(found, torch.tensor([[-0.1, 4.8, 0.0], [-0.1, -0.1, -3.1]]))


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 2.0, 3.0], 1.0), ([5.0, 5.0, 5.0], 0.0), ([3.0, 2.0, 1.0], -3.0)]
)
def test_explained_variance_of_a_perfect_a_constant_and_a_wrong_critic(
    values: list[float], expected: float
) -> None:
    """Returns 1 2 3. The wrong critic's errors -2 0 2 have four times the variance of the returns: 1 - 4 = -3."""
    mask = torch.tensor([[True, True, True, False]])
    found = explained_variance(torch.tensor([[*values, 50.0]]), torch.tensor([[1.0, 2.0, 3.0, -50.0]]), mask)
    assert math.isclose(found, expected, abs_tol=1e-6)
