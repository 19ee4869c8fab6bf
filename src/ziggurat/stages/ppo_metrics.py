"""The fields of one row of PPO's metrics.jsonl, measured on the rollouts of that step.

docs/rlhf.md tells what each one means and its healthy range. Left out: anything that needs a reference answer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ziggurat.evaluation.statistics import correlation
from ziggurat.stages.advantages import explained_variance, masked_mean
from ziggurat.stages.ppo_update import Experience, Tables, UpdateStats
from ziggurat.stages.rollouts import Rollout
from ziggurat.tokenizer.bpe import Tokenizer

ENDING_TOKENS = 2
"""Tokens before the end of turn that count as a completion's ending."""


def describe_experience(experience: Experience, beta: float) -> dict[str, float | None]:
    """Rewards by part, KL, entropy, critic: all in the units of PPOConfig."""
    e = experience
    return {
        **describe_rollouts(e, beta),
        "value": float(masked_mean(e.values, e.mask)),
        "explained_variance": explained_variance(e.values, e.returns, e.mask),
    }


def describe_rollouts(e: Tables, beta: float) -> dict[str, float | None]:
    """What every method measures of its rollouts."""
    lengths = e.mask.sum(dim=1).float()  # (R,)
    kl_reward = -beta * ((e.old_logp - e.ref_logp) * e.mask).sum(dim=1)  # (R,)
    together = correlation(e.scores.tolist(), lengths.tolist())
    gap = (e.engine_logp - e.old_logp).abs() * e.mask
    return {
        "reward": float(e.scores.mean()),
        "reward_std": float(e.scores.std(unbiased=False)),
        "reward_ended": float(masked_mean(e.scores, e.ended)),
        "reward_kl": float(kl_reward.mean()),
        "reward_total": float((e.scores + kl_reward).mean()),
        "reward_length_correlation": together if math.isfinite(together) else None,
        "kl": float((e.kl * e.mask).sum(dim=1).mean()),
        "kl_sampled": float(((e.old_logp - e.ref_logp) * e.mask).sum(dim=1).mean()),
        "entropy": float(masked_mean(e.entropy, e.mask)),
        "engine_gap": float(masked_mean(gap, e.mask)),
        "engine_gap_max": float(gap.max()),
        "length": float(lengths.mean()),
        "share_ended": float(e.ended.float().mean()),
    }


def describe_completions(rollouts: Sequence[Rollout], tokenizer: Tokenizer) -> dict[str, Any]:
    """How alike the completions are: the commonest one, the commonest ending, the share of different ones."""
    bodies = [tuple(one.completion[:-1] if one.ended else one.completion) for one in rollouts]
    common, times = Counter(bodies).most_common(1)[0]
    ending, endings = Counter(body[-ENDING_TOKENS:] for body in bodies).most_common(1)[0]
    return {
        "share_commonest": times / len(bodies),
        "commonest": tokenizer.decode(common)[:120],
        "share_ending": endings / len(bodies),
        "ending": tokenizer.decode(ending),
        "share_distinct": len(set(bodies)) / len(bodies),
    }


def describe_update(stats: UpdateStats) -> dict[str, float | None]:
    """What the optimizer steps did."""
    return dict(vars(stats))
