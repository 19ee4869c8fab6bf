"""Advantages for PPO: generalised advantage estimation, and whitening under a mask.

What it is: three pure functions over right-padded tables (R, L) — R rollouts, L the longest completion — with a
boolean mask of the tokens that exist. What it leaves out: bootstrapping past the end. A completion is a whole
episode: the value after its last token is 0, also when it was cut off (it then carries the truncation reward).

Alignment of one rollout, which everything in PPO shares. The prompt is `p p p`, the completion `a b <|end|>`:

    position          0  1  2  3  4  5
    input id          p  p  p  a  b  <|end|>
    logits chose               a  b  <|end|>      read at position 2, 3, 4: the state *before* the action
    value of state             V0 V1 V2           read at the same positions; the value after <|end|> is 0
    reward                     r0 r1 r2           r2 contains the reward model's score

Source: GAE, arXiv:1506.02438, equation 16; PPO for language, arXiv:2203.02155.
"""

from __future__ import annotations

import torch
from torch import Tensor

WHITEN_EPSILON = 1e-8


def gae(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, lam: float) -> Tensor:
    """Advantages (R, L): A_t = delta_t + gamma·lam·A_{t+1}, delta_t = r_t + gamma·V_{t+1} - V_t.

    By hand, gamma 1, lam 0.5, rewards 0 0 1, values 0.5 0.25 0.5:
    delta_2 = 1 + 0 - 0.5 = 0.5;  delta_1 = 0 + 0.5 - 0.25 = 0.25;  delta_0 = 0 + 0.25 - 0.5 = -0.25
    A_2 = 0.5;  A_1 = 0.25 + 0.5·0.5 = 0.5;  A_0 = -0.25 + 0.5·0.5 = 0.
    """
    keep = mask.to(values.dtype)
    values, rewards = values * keep, rewards * keep
    advantages = torch.zeros_like(values)
    following_advantage = torch.zeros_like(values[:, 0])  # (R,)
    following_value = torch.zeros_like(values[:, 0])  # (R,)
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following_value - values[:, t]
        following_advantage = (delta + gamma * lam * following_advantage) * keep[:, t]  # padding stays 0
        following_value = values[:, t]
        advantages[:, t] = following_advantage
    return advantages


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true entries of the mask; 0 when there are none."""
    keep = mask.to(x.dtype)
    return (x * keep).sum() / keep.sum().clamp(min=1.0)


def masked_whiten(x: Tensor, mask: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over the true entries; padding becomes 0.

    By hand: entries 1, 3 and one padded 100: mean 2, variance ((-1)² + 1²) / 2 = 1, so -1, 1 and 0.
    Entries that are all equal become 0, not 0/0.
    """
    mean = masked_mean(x, mask)
    variance = masked_mean((x - mean) ** 2, mask)
    return (x - mean) * torch.rsqrt(variance + WHITEN_EPSILON) * mask.to(x.dtype)


def token_rewards(kl_per_token: Tensor, scores: Tensor, mask: Tensor, *, beta: float) -> Tensor:
    """Rewards (R, L): -beta·(log pi - log pi_ref) at every token, the score added on the last one.

    By hand: beta 0.1, log-ratios 1 and 2, score 5: rewards -0.1 and 5 - 0.2 = 4.8.
    """
    rewards = -beta * kl_per_token * mask.to(kl_per_token.dtype)
    last = mask.sum(dim=1) - 1  # (R,) every rollout has at least one token
    rows = torch.arange(mask.shape[0], device=mask.device)
    rewards[rows, last] += scores.to(rewards.dtype)
    return rewards


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns): 1 is a perfect critic, 0 a constant, below 0 worse than a constant."""
    variance = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    error = returns - values
    residual = masked_mean((error - masked_mean(error, mask)) ** 2, mask)
    return float(1.0 - residual / variance) if float(variance) > 0 else 0.0
