"""The reward model's report card, which must pass before PPO starts: how often it ranks like the people it learned
from, on comparisons that it has not seen.

- pairs: accuracy on untied held-out pairs, interval by bootstrap over prompts, beside the labelling ceiling;
- kinds: the same for each kind of pair, where the caller can name kinds;
- calibration: the predicted probability that the first is better, against how often it was;
- length: correlation of reward and length within a prompt, beside that of the labels themselves;
- best-of-n: what the labels say of the completion that the model picks from n, exactly, over all subsets.

What it leaves out: truth. It measures agreement with labels; where labels have noise, only the ceiling tells how
much of the disagreement is theirs (DESIGN 2, labelling ceiling).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ziggurat.evaluation.statistics import average_ranks, cluster_bootstrap, correlation
from ziggurat.model.heads import RewardModel
from ziggurat.model.padding import padded_batches
from ziggurat.records import Comparison
from ziggurat.stages.comparison_batches import Ranked
from ziggurat.stages.ppo_losses import untied_pairs
from ziggurat.tokenizer.template import ChatTemplate

KindOfPair = Callable[[Comparison, int, int], str | None]
"""(comparison, index of the better, index of the worse) -> the kind of this pair, or None."""

CALIBRATION_BINS = 10
MIN_KIND_PAIRS = 20
"""Kinds with fewer held-out pairs are reported and judge nothing."""


@dataclass(frozen=True)
class CardLimits:
    """What a report card must show."""

    min_accuracy: float
    """Lower confidence bound of the pair accuracy."""
    min_share_of_ceiling: float
    """Accuracy / labelling ceiling, where the ceiling is known."""
    min_kind_accuracy: float
    """Accuracy of each kind of pair that has enough of them."""


BATCH_TOKENS = 4096


@torch.no_grad()
def score_rows(model: RewardModel, rows: Sequence[Sequence[int]], pad_id: int) -> list[float]:
    """Rewards of rendered conversations, read at their last token; computed by length, returned in order."""
    found: dict[int, float] = {}
    for chosen, ids, lengths in padded_batches(rows, BATCH_TOKENS, pad_id, model.head.weight.device):
        found.update(zip(chosen, model.score(ids, lengths - 1).tolist(), strict=True))
    return [found[i] for i in range(len(rows))]


def score_comparisons(model: RewardModel, ranked: Sequence[Ranked], pad_id: int) -> list[list[float]]:
    """Rewards of every completion, by comparison."""
    flat = iter(score_rows(model, [row for one in ranked for row in one.rows], pad_id))
    return [[next(flat) for _ in one.rows] for one in ranked]


def pair_accuracy(scores: Sequence[Sequence[float]], ranks: Sequence[Sequence[int]]) -> float:
    """Share of untied pairs in which the better one scores higher; an equal score counts half."""
    hits = [_hit(s[i], s[j]) for s, r in zip(scores, ranks, strict=True) for i, j in untied_pairs(r)]
    return sum(hits) / len(hits) if hits else 0.0


def report_card(
    comparisons: Sequence[Comparison],
    scores: Sequence[Sequence[float]],
    lengths: Sequence[Sequence[int]],
    *,
    reward_scale: float,
    limits: CardLimits,
    kind_of_pair: KindOfPair | None = None,
    labelling_ceiling: float | None = None,
) -> dict[str, Any]:
    """The whole card. `scores` are rewards as readers see them; divided by `reward_scale` they are logits again."""
    hits: list[float] = []
    clusters: list[str] = []
    kinds: list[str | None] = []
    logits: list[float] = []
    for comparison, s in zip(comparisons, scores, strict=True):
        prompt = "\n".join(message.content for message in comparison.prompt)
        for i, j in untied_pairs(comparison.ranks):
            hits.append(_hit(s[i], s[j]))
            clusters.append(prompt)
            kinds.append(kind_of_pair(comparison, i, j) if kind_of_pair else None)
            logits.append((s[i] - s[j]) / reward_scale)
    pairs = cluster_bootstrap(hits, clusters)
    by_kind: dict[str, Any] = {}
    for kind in sorted({kind for kind in kinds if kind}):
        chosen = [n for n, k in enumerate(kinds) if k == kind]
        by_kind[kind] = cluster_bootstrap([hits[n] for n in chosen], [clusters[n] for n in chosen]).to_dict()
    bins = calibration(logits)
    card: dict[str, Any] = {
        "comparisons": len(comparisons),
        "pairs": pairs.to_dict(),
        "kinds": by_kind,
        "labelling_ceiling": labelling_ceiling,
        "share_of_ceiling": pairs.value / labelling_ceiling if labelling_ceiling and hits else None,
        "calibration": bins,
        "calibration_error": calibration_error(bins),
        "length": length_correlations(comparisons, scores, lengths),
        "best_of_n": best_of_n(comparisons, scores),
    }
    reasons = _shortcomings(card, limits)
    return {**card, "passed": not reasons, "reasons": reasons}


def calibration(logits: Sequence[float]) -> list[dict[str, float]]:
    """Bins of P(first is better) = sigmoid(logit), each pair entered in both orders, so that labels say ½ on average.

    By hand: two pairs of logit 2 (better minus worse), both right: sigmoid(2) = 0.88, so the bin 0.8–0.9 holds two
    pairs predicted 0.88 that came true in 100 %, and the bin 0.1–0.2 their mirror.
    """
    entries = [(_sigmoid(x), 1.0) for x in logits] + [(_sigmoid(-x), 0.0) for x in logits]
    bins = []
    for b in range(CALIBRATION_BINS):
        low, high = b / CALIBRATION_BINS, (b + 1) / CALIBRATION_BINS
        inside = [(p, y) for p, y in entries if low <= p < high or (high == 1.0 and p == 1.0)]
        if inside:
            predicted = sum(p for p, _ in inside) / len(inside)
            observed = sum(y for _, y in inside) / len(inside)
            bins.append(
                {"low": low, "high": high, "n": len(inside), "predicted": predicted, "observed": observed}
            )
    return bins


def calibration_error(bins: Sequence[dict[str, float]]) -> float:
    """Mean |predicted - observed|, weighted by the bins' sizes (expected calibration error)."""
    total = sum(b["n"] for b in bins)
    return sum(b["n"] * abs(b["predicted"] - b["observed"]) for b in bins) / total if total else 0.0


def length_correlations(
    comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]], lengths: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Rank correlation with length within prompts, of the rewards and of the labels: the first should not exceed the
    second, else the model has learned length itself."""
    reward: list[float] = []
    label: list[float] = []
    length: list[float] = []
    for comparison, s, n in zip(comparisons, scores, lengths, strict=True):
        reward += _centred(average_ranks(s).tolist())
        label += _centred(average_ranks([-rank for rank in comparison.ranks]).tolist())
        length += _centred(average_ranks(n).tolist())
    return {"reward": correlation(reward, length), "labels": correlation(label, length)}


def best_of_n(comparisons: Sequence[Comparison], scores: Sequence[Sequence[float]]) -> list[dict[str, float]]:
    """For each n: the mean reward of the best of n by the model, and how often labels put it above a random other.

    Exact, not sampled: among the K completions sorted by reward, the one with r below it is the best of a random
    n-subset with probability C(r, n-1) / C(K, n).
    """
    curve = []
    for n in range(1, max((len(s) for s in scores), default=0) + 1):
        rewards: list[float] = []
        wins: list[float] = []
        for comparison, s in zip(comparisons, scores, strict=True):
            K = len(s)
            if n > K:
                continue
            order = sorted(range(K), key=lambda i: s[i])
            chance = [math.comb(below, n - 1) / math.comb(K, n) for below in range(K)]
            rewards.append(sum(p * s[i] for p, i in zip(chance, order, strict=True)))
            wins.append(sum(p * _wins(comparison.ranks, i) for p, i in zip(chance, order, strict=True)))
        curve.append(
            {
                "n": n,
                "comparisons": len(wins),
                "reward": sum(rewards) / len(rewards),
                "wins": sum(wins) / len(wins),
            }
        )
    return curve


def completion_lengths(comparisons: Sequence[Comparison], template: ChatTemplate) -> list[list[int]]:
    """Tokens of each completion's own text."""
    texts = [
        c if isinstance(c, str) else "".join(message.content for message in c)
        for one in comparisons
        for c in one.completions
    ]
    encoded = iter(template.tokenizer.encode_batch(texts))
    return [[len(next(encoded)) for _ in one.completions] for one in comparisons]


def _shortcomings(card: dict[str, Any], limits: CardLimits) -> list[str]:
    pairs, share = card["pairs"], card["share_of_ceiling"]
    if not pairs["n"]:
        return ["there is no untied held-out pair to judge it by"]
    reasons = []
    if pairs["low"] < limits.min_accuracy:
        reasons.append(
            f"pair accuracy {pairs['value']:.3f} has the lower bound {pairs['low']:.3f}, below {limits.min_accuracy:g}"
        )
    if share is not None and share < limits.min_share_of_ceiling:
        reasons.append(
            f"it reaches {share:.3f} of the labelling ceiling, below {limits.min_share_of_ceiling:g}"
        )
    for kind, found in card["kinds"].items():
        if found["n"] >= MIN_KIND_PAIRS and found["value"] < limits.min_kind_accuracy:
            reasons.append(
                f"on {kind} its accuracy is {found['value']:.3f}, below {limits.min_kind_accuracy:g}"
            )
    return reasons


def _hit(better: float, worse: float) -> float:
    return 1.0 if better > worse else 0.5 if better == worse else 0.0


def _wins(ranks: Sequence[int], i: int) -> float:
    others = [rank for j, rank in enumerate(ranks) if j != i]
    return sum(1.0 if ranks[i] < rank else 0.5 if ranks[i] == rank else 0.0 for rank in others) / len(others)


def _centred(values: Sequence[float]) -> list[float]:
    mean = sum(values) / len(values)
    return [value - mean for value in values]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
