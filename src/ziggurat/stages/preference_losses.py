"""The losses of DPO and its relatives, as pure functions of log-probabilities.

    s(y) = log p(y) - log p_ref(y)               of a whole completion; each part may be left out or changed:
                                                 reference_free: log p_ref is 0; length_normalised: divided by tokens
    r(y) = beta · s(y)                           the implicit reward
    h    = r(better) - r(worse) - margin         of a pair

    sigmoid      -(1 - e) log sigmoid(h) - e log sigmoid(-h)      DPO, arXiv:2305.18290; e is label_smoothing
    hinge        max(0, 1 - h)                                    SLiC, arXiv:2305.10425
    ipo          (h / beta - 1 / (2 beta))²                       IPO, arXiv:2310.12036, equation 17
    odds_ratio   -beta · log sigmoid(o(better) - o(worse))        ORPO, arXiv:2403.07691; o(y) = log P / (1 - P) with
                                                                  log P = log p(y) / tokens

SimPO (arXiv:2405.14734) is sigmoid, reference-free, length-normalised, with a margin. ORPO adds the loss of
imitating the best completion, `nll_weight · -log p(y) / tokens`, which any of them may have.

A comparison of K completions counts once: its pairs share its weight. What it leaves out: models, batching and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.stages.ppo_losses import ranked_pairs

Shape = Literal["sigmoid", "ipo", "hinge", "odds_ratio"]


@dataclass(frozen=True)
class Preference:
    """Which loss; defaults are DPO's."""

    shape: Shape = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    margin: float = 0.0
    length_normalised: bool = False
    reference_free: bool = False
    nll_weight: float = 0.0

    def rewards(self, logp: Tensor, reference: Tensor | None, lengths: Tensor) -> Tensor:
        """r (B,) of completions with these log-probabilities (B,) and so many tokens (B,).

        By hand, beta 0.1: log p -2, log p_ref -3 give 0.1; of 4 tokens, length-normalised, 0.025; reference-free -0.2.
        """
        score = logp if self.reference_free or reference is None else logp - reference
        return self.beta * (score / lengths if self.length_normalised else score)

    def of_pairs(self, h: Tensor) -> Tensor:
        """The loss of each pair with the difference h.

        By hand: h 0 costs log 2 = 0.6931; h 1 costs 0.3133 and, with a smoothing of 0.1, 0.4133; hinge of h 0.25 is
        0.75; ipo with beta 0.1 of h 0.2: (2 - 5)² = 9.
        """
        if self.shape == "hinge":
            return F.relu(1.0 - h)
        if self.shape == "ipo":
            return (h / self.beta - 1.0 / (2.0 * self.beta)) ** 2
        right, wrong = F.logsigmoid(h), F.logsigmoid(-h)
        return -(1.0 - self.label_smoothing) * right - self.label_smoothing * wrong


def log_odds(logp: Tensor, lengths: Tensor) -> Tensor:
    """log P / (1 - P) with log P = logp / lengths. By hand: log P = log 0.8 gives log 4 = 1.3863."""
    mean = (logp / lengths).clamp(max=-1e-6)
    return mean - torch.log(-torch.expm1(mean))


def preference_loss(
    logp: Tensor,
    reference: Tensor | None,
    lengths: Tensor,
    ranks: Sequence[Sequence[int]],
    kind: Preference,
    weights: Sequence[float] | None = None,
) -> tuple[Tensor, float, dict[str, Tensor]]:
    """(sum over comparisons, comparisons with an untied pair, sums of metrics); tensors are flat (B,). With a weight
    for each comparison all of them are weighted.

    The metrics: `accuracy`, the share of pairs whose better one has the higher reward; `reward_margin`;
    `better_logratio` and `worse_logratio`, how far log p has moved from the reference (or from 0).
    """
    better, worse, shares, counted = ranked_pairs(ranks, weights)
    if not better:
        return logp.sum() * 0.0, 0, {}
    first, second = torch.tensor([better, worse], device=logp.device)
    weight = torch.tensor(shares, device=logp.device)
    rewards = kind.rewards(logp, reference, lengths)
    gap = rewards[first] - rewards[second]
    if kind.shape == "odds_ratio":
        odds = log_odds(logp, lengths)
        each = -kind.beta * F.logsigmoid(odds[first] - odds[second])
    else:
        each = kind.of_pairs(gap - kind.margin)
    loss = (each * weight).sum()
    if kind.nll_weight:
        loss = loss + kind.nll_weight * (-(logp / lengths) * _share_of_best(ranks, weights, logp)).sum()
    moved = (logp if reference is None else logp - reference).detach()
    right = (gap > 0).float() + 0.5 * (gap == 0).float()
    metrics = {
        "accuracy": (right * weight).sum(),
        "reward_margin": (gap.detach() * weight).sum(),
        "better_logratio": (moved[first] * weight).sum(),
        "worse_logratio": (moved[second] * weight).sum(),
    }
    return loss, counted, metrics


def _share_of_best(ranks: Sequence[Sequence[int]], weights: Sequence[float] | None, like: Tensor) -> Tensor:
    """(B,) weight / n for each of the n completions that are ranked first, in comparisons that count; 0 for others."""
    shares: list[float] = []
    for one, weight in zip(ranks, weights or [1.0] * len(ranks), strict=True):
        best = one.count(min(one))
        counts = best < len(one)
        shares += [weight * counts * (rank == min(one)) / best for rank in one]
    return torch.tensor(shares, device=like.device)
