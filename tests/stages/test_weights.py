"""Weights of comparisons and ratings: exact on numbers worked by hand, and absent ones change nothing."""

from __future__ import annotations

import math

import pytest
import torch

from ziggurat.errors import DataError
from ziggurat.records import Comparison, Message, Rating
from ziggurat.stages.comparison_batches import Ranked, collate, split_batch
from ziggurat.stages.kto_config import weights_of
from ziggurat.stages.ppo_losses import pairwise_loss
from ziggurat.stages.preference_losses import Preference, preference_loss

CPU = torch.device("cpu")


def test_a_comparison_of_half_weight_counts_half_in_sum_and_divisor() -> None:
    """Rewards 1 0 and 0 0: losses log(1 + e^-1) = 0.31326 and log 2 = 0.69315; weights 1 and 0.5 give
    (0.31326 + 0.34657) / 1.5 = 0.43989."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0])
    loss, count = pairwise_loss(rewards, [[1, 2], [1, 2]], [1.0, 0.5])
    assert float(loss) / count == pytest.approx(0.43989, abs=1e-5)
    assert count == 1.5
    assert pairwise_loss(rewards, [[1, 2], [1, 2]], [1.0, 1.0]) == pairwise_loss(rewards, [[1, 2], [1, 2]])


def test_dpo_weighs_the_loss_the_metrics_and_the_imitation_alike() -> None:
    """beta 1, reference 0: gaps 1 and 0; with nll_weight 1 the best ones' -log p 1 and 2 over 1 token are added."""
    logp, ones = torch.tensor([-1.0, -2.0, -2.0, -2.0]), torch.ones(4)
    kind = Preference(beta=1.0, nll_weight=1.0)
    loss, count, metrics = preference_loss(logp, torch.zeros(4), ones, [[1, 2], [1, 2]], kind, [0.25, 1.0])
    right = math.log(1 + math.exp(-1)) + 1.0
    assert float(loss) == pytest.approx(0.25 * right + math.log(2) + 2.0, abs=1e-5)
    assert count == 1.25
    assert float(metrics["accuracy"]) / count == pytest.approx((0.25 * 1.0 + 0.5) / 1.25)


def test_microbatches_keep_the_weights_of_their_comparisons() -> None:
    ranked = [Ranked([[1, 2], [1, 3]], [1, 2], [1, 1], weight=w) for w in (1.0, 0.5, 0.25)]
    whole = collate(ranked, 0, CPU)
    assert whole.weights == [1.0, 0.5, 0.25]
    assert [part.weights for part in split_batch(whole, 3)] == [[1.0], [0.5], [0.25]]


def test_both_sides_of_kto_balance_by_weight() -> None:
    """Three liked and one disliked that counts half: 1 and 3 / 0.5 = 6."""
    liked = [True, True, True, False]
    assert weights_of(liked, 0, 0) == (1.0, 3.0)
    assert weights_of(liked, 0, 0, [1.0, 1.0, 1.0, 0.5]) == (1.0, 6.0)
    with pytest.raises(DataError, match="likes"):
        weights_of([True], 0, 0, [0.5])


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_is_above_zero(weight: float) -> None:
    prompt = [Message(role="user", content="q")]
    with pytest.raises(ValueError, match="weight"):
        Rating(prompt=prompt, completion="a", label=True, weight=weight)
    with pytest.raises(ValueError, match="weight"):
        Comparison(id="c", prompt=prompt, completions=["a", "b"], ranks=[1, 2], weight=weight)
