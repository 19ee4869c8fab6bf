"""The losses of PPO and of the reward model, as pure functions returning sums, so that the caller divides once.

What it leaves out: models, batching and masks — every tensor here is flat and holds only tokens that exist.
Sources: PPO, arXiv:1707.06347, equation 7; value clipping and PPO-ptx, arXiv:2203.02155 and arXiv:2009.01325;
the pairwise loss, arXiv:2203.02155, equation 1; the KL controller, arXiv:1909.08593, section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def clipped_policy_loss(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """(sum of the loss, number of clipped tokens): -min(ratio·A, clip(ratio, 1 ± clip)·A).

    1. The ratio pi/pi_old corrects for the policy having moved since the rollout.
    2. The clip takes away the reason to move further than `clip`; the min keeps the gradient that moves back.

    By hand, clip 0.2: ratio 1.5, A = 1 gives -1.2 (clipped, gradient 0); ratio 1.5, A = -1 gives 1.5 (not
    clipped: it must come back); ratio 0.5, A = -1 gives 0.8 (clipped); ratio 0.5, A = 1 gives -0.5.
    """
    ratio = torch.exp(logp - old_logp)
    free = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    return torch.maximum(free, bounded).sum(), (bounded > free).sum()


def clipped_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, clip: float
) -> tuple[Tensor, Tensor]:
    """(sum of the loss, number of clipped tokens): ½·max((V - R)², (clip(V, V_old ± clip) - R)²).

    By hand, clip 0.2: V 1.0, V_old 0.5, R 2: clipped V is 0.7, loss ½·max(1, 1.69) = 0.845;
    V 1.0, V_old 0.5, R 0: ½·max(1, 0.49) = 0.5.
    """
    bounded = old_values + (values - old_values).clamp(-clip, clip)
    free_error, bounded_error = (values - returns) ** 2, (bounded - returns) ** 2
    return 0.5 * torch.maximum(free_error, bounded_error).sum(), (bounded_error > free_error).sum()


def token_logp(logits: Tensor, tokens: Tensor) -> Tensor:
    """log softmax(logits)[token]: logits (N, V) fp32, tokens (N,) -> (N,)."""
    return -F.cross_entropy(logits, tokens, reduction="none")


def exact_kl(logp: Tensor, reference_logp: Tensor) -> Tensor:
    """KL(pi || pi_ref) of full distributions: log-softmaxed (N, V) twice -> (N,), in nats; never negative."""
    return (logp.exp() * (logp - reference_logp)).sum(dim=-1).clamp(min=0.0)


def entropy(logp: Tensor) -> Tensor:
    """Entropy in nats of log-softmaxed (N, V) -> (N,)."""
    return -(logp.exp() * logp).sum(dim=-1)


def steer_beta(
    beta: float, kl: float, target: float, *, gain: float, beta_min: float, beta_max: float
) -> float:
    """The next beta: times 1 + gain·clip(kl/target - 1, ±0.2), held between its bounds; a target of 0 keeps beta.

    By hand: beta 0.1, gain 0.5: KL at twice its target gives 0.1·(1 + 0.5·0.2) = 0.11; KL of 0 gives 0.09.
    """
    if target <= 0:
        return beta
    error = max(-0.2, min(0.2, kl / target - 1.0))
    return max(beta_min, min(beta_max, beta * (1.0 + gain * error)))


def untied_pairs(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) indices of every pair that is not tied: ranks 1 2 2 give (0, 1), (0, 2)."""
    return [(i, j) for i in range(len(ranks)) for j in range(len(ranks)) if ranks[i] < ranks[j]]


def pairwise_loss(
    rewards: Tensor, ranks: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> tuple[Tensor, float]:
    """(sum over comparisons, comparisons that count); rewards are flat, comparison after comparison. With a weight for
    each comparison both are weighted.

    One comparison is one element: -mean over its untied pairs of log sigmoid(r_better - r_worse). Were every
    pair an element of its own, a prompt with K completions would be seen K-1 times per completion and overfitted
    (arXiv:2203.02155, section 3.5). A comparison whose ranks are all tied counts 0, so nothing is 0/0.

    By hand: ranks 1 2 2, rewards 1 0 0: both untied pairs differ by 1, loss log(1 + e^-1) = 0.31326.
    """
    better, worse, shares, counted = ranked_pairs(ranks, weights)
    if not better:
        return rewards.sum() * 0.0, 0
    first, second = torch.tensor([better, worse], device=rewards.device)
    weight = torch.tensor(shares, device=rewards.device)
    return -(F.logsigmoid(rewards[first] - rewards[second]) * weight).sum(), counted


def ranked_pairs(
    ranks: Sequence[Sequence[int]], weights: Sequence[float] | None = None
) -> tuple[list[int], list[int], list[float], float]:
    """(better, worse, share) of every untied pair of flat completions, and how many comparisons have one.

    The shares of a comparison add up to its weight, 1 where `weights` is None, and it counts as so many. By hand: ranks
    (1 2) and (1 2 2) give pairs 0 > 1, 2 > 3 and 2 > 4 with shares 1, 1/2, 1/2; with weights 1 and 0.5 shares
    1, 1/4, 1/4 and a count of 1.5.
    """
    better: list[int] = []
    worse: list[int] = []
    shares: list[float] = []
    start, counted = 0, 0.0
    for one, weight in zip(ranks, weights or [1.0] * len(ranks), strict=True):
        pairs = untied_pairs(one)
        counted += weight * bool(pairs)
        better += [start + i for i, _ in pairs]
        worse += [start + j for _, j in pairs]
        shares += [weight / len(pairs) for _ in pairs]
        start += len(one)
    return better, worse, shares, counted
