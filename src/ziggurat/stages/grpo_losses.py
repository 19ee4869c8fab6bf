"""The mathematics of GRPO and its relatives, as pure functions: advantages from groups, the clipped loss, the KL term.

A step has P prompts with a group of G completions each; R = P·G rollouts, group after group.
Sources: GRPO, arXiv:2402.03300; RLOO, arXiv:2402.14740; Dr. GRPO, arXiv:2503.20783; DAPO, arXiv:2503.14476; the KL
estimate k3, http://joschu.net/blog/kl-approx.html.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Baseline = Literal["mean", "leave_one_out"]
Scale = Literal["group", "step", "none"]
LossMean = Literal["completion", "tokens", "constant"]

SMALLEST_DEVIATION = 1e-6
"""A group whose scores differ by less has no advantages."""


def group_advantages(scores: Tensor, group: int, *, baseline: Baseline, scale: Scale) -> Tensor:
    """Scores (R,) -> advantages (R,): what a completion is better than the others of its group.

    mean: r - mean of the group. leave_one_out: r - mean of the others, which is G / (G - 1) times the former.
    scale: divided by the deviation of the group (GRPO) or of the whole step's advantages, or not at all (RLOO, Dr.
    GRPO: the division favours prompts that are nearly always, or nearly never, answered well).

    By hand, one group 1 0 0 0: mean 1/4, so 3/4 -1/4 -1/4 -1/4; leave-one-out 1 -1/3 -1/3 -1/3; the deviation is
    sqrt(3)/4, so the first divided by it is sqrt(3) = 1.732.
    """
    each = scores.view(-1, group)  # (P, G)
    advantages = each - each.mean(dim=1, keepdim=True)
    if baseline == "leave_one_out":
        advantages = advantages * (group / (group - 1))
    if scale == "group":
        deviation = each.std(dim=1, keepdim=True, unbiased=False)
        advantages = torch.where(
            deviation > SMALLEST_DEVIATION, advantages / deviation, torch.zeros_like(advantages)
        )
    elif scale == "step":
        deviation = advantages.std(unbiased=False)
        advantages = advantages / deviation if float(deviation) > SMALLEST_DEVIATION else advantages * 0.0
    return advantages.flatten()


def equal_groups(scores: Tensor, group: int) -> Tensor:
    """(P,) bool: groups whose completions all score alike, from which nothing is learned."""
    return scores.view(-1, group).std(dim=1, unbiased=False) <= SMALLEST_DEVIATION


def token_weights(lengths: Tensor, row: Tensor, mean: LossMean, longest: int) -> Tensor:
    """Weight (N,) of each action in the loss of a minibatch; `lengths` (R',) tokens of its completions, `row` (N,) the
    completion of each action.

    completion: every completion weighs the same, a token of a long one less (GRPO). tokens: every token weighs the
    same (DAPO). constant: every token weighs 1 / longest, so a completion's length does not change what its tokens
    weigh (Dr. GRPO). By hand, lengths 1 and 3: 1/2 and 1/6; 1/4 and 1/4; with longest 4, 1/8 and 1/8.
    """
    count = len(lengths)
    if mean == "tokens":
        return torch.full((len(row),), 1.0 / float(lengths.sum()), device=lengths.device)
    if mean == "constant":
        return torch.full((len(row),), 1.0 / (count * longest), device=lengths.device)
    return 1.0 / (count * lengths[row].float())


def clipped_objective(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """(loss (N,), whether it is clipped (N,)): -min(ratio·A, clip(ratio, 1 - low, 1 + high)·A).

    DAPO's "clip higher": with high above low an unlikely token may gain more than a likely one loses.
    By hand, low 0.2, high 0.3: ratio 1.5, A 1 gives -1.3; ratio 0.5, A -1 gives 0.8.
    """
    ratio = torch.exp(logp - old_logp)
    free = -advantages * ratio
    bounded = -advantages * ratio.clamp(1.0 - low, 1.0 + high)
    return torch.maximum(free, bounded), bounded > free


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """exp(d) - d - 1 with d = log p_ref - log p: an estimate of KL(p || p_ref) from samples of p; never negative.

    By hand: d = log 2 gives 2 - 0.6931 - 1 = 0.3069.
    """
    d = ref_logp - logp
    return torch.exp(d) - d - 1.0


def length_penalty(lengths: Tensor, longest: int, buffer: int, penalty: float) -> Tensor:
    """What is taken off (R,): 0 up to longest - buffer tokens, then rising to `penalty` at `longest` (DAPO's soft
    punishment). By hand, longest 10, buffer 4, penalty 1: 6 tokens cost 0, 8 cost 0.5, 10 cost 1."""
    if not penalty:
        return torch.zeros_like(lengths, dtype=torch.float32)
    over = (lengths - (longest - buffer)).clamp(min=0).float()
    return penalty * over / max(1, buffer)
