"""A scalar beside every token: the reward model and the critic.

Both are a Transformer body with one linear head. The critic reads it at every position; the reward model at the
end-of-turn token alone (never the padding), shifted and scaled so that every reader sees the same units.
Source: InstructGPT (arXiv:2203.02155), 3.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from ziggurat.model.confidence import (
    FEATURES,
    ConfidenceHead,
    expected_features,
    log_probabilities,
    word_features,
)
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer

LOGITS_AT_ONCE, LOGITS_ON_A_GPU = 32 * 1024 * 1024, 256 * 1024 * 1024
"""Logits that are there at a time (fp32: 128 MiB; on a GPU 1 GiB: smaller products leave it idle)."""


def logits_at_once(device: torch.device) -> int:
    return LOGITS_ON_A_GPU if device.type == "cuda" else LOGITS_AT_ONCE


class ScalarModel(nn.Module):
    """ids (B, T) -> scores (B, T), fp32. A fresh head is zero: the first score of everything is 0."""

    def __init__(self, body: Transformer) -> None:
        super().__init__()
        self.body = body
        self.head = Linear(body.config.d_model, 1, bias=False)
        nn.init.zeros_(self.head.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return self.scores(self.body.hidden(ids))

    def scores(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (...), in fp32 whatever the body computes in."""
        scores: Tensor = self.head(hidden.float())
        return scores.squeeze(-1)


@dataclass(frozen=True)
class Reading:
    """What a reward model's body makes of B answers: everything that their scores are computed from."""

    ends: Tensor  # (B, C) states at the end-of-turn tokens
    states: (
        Tensor  # (N, C) states that the answers' N words were predicted from; N = 0 without a confidence head
    )
    features: Tensor  # (N, 3) of each word (`confidence.word_features`)
    rows: Tensor  # (N,) the answer of each word, 0 ... B - 1, in order

    def split(self, answers: Sequence[int]) -> list[Reading]:
        """Readings of so many answers each."""
        first_answers = [0, *accumulate(answers)]
        at = torch.searchsorted(self.rows, torch.tensor(first_answers, device=self.rows.device)).tolist()
        return [
            Reading(self.ends[i:j], self.states[m:n], self.features[m:n], self.rows[m:n] - i)
            for (i, j), (m, n) in zip(pairwise(first_answers), pairwise(at), strict=True)
        ]

    @staticmethod
    def join(readings: Sequence[Reading]) -> Reading:
        """One reading of all their answers, in order."""
        firsts = [0, *accumulate(len(one.ends) for one in readings[:-1])]
        rows = [one.rows + first for one, first in zip(readings, firsts, strict=True)]
        ends, states, features = (
            torch.cat([getattr(one, name) for one in readings]) for name in ("ends", "states", "features")
        )
        return Reading(ends, states, features, torch.cat(rows))


@dataclass(frozen=True)
class Foresight:
    """What a critic's body makes of N words before they are chosen: everything that values are computed from."""

    states: Tensor  # (N, C)
    features: Tensor  # (N, 3) as of a Reading; (N, 0) without a confidence head
    expected: Tensor  # (N, 3) `confidence.expected_features`


class RewardModel(ScalarModel):
    """A ScalarModel whose reward is (score at the end-of-turn token - reward_shift) * reward_scale.

    With a `confidence` head its term is added to the score.
    """

    reward_shift: Tensor
    reward_scale: Tensor

    def __init__(
        self,
        body: Transformer,
        *,
        reward_shift: float = 0.0,
        reward_scale: float = 1.0,
        confidence: ConfidenceHead | None = None,
    ) -> None:
        super().__init__(body)
        self.register_buffer("reward_shift", torch.tensor(reward_shift, dtype=torch.float64))
        self.register_buffer("reward_scale", torch.tensor(reward_scale, dtype=torch.float64))
        self.confidence = confidence

    def raw(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """ids (B, T), ends (B,) positions of the end-of-turn tokens -> unshifted scores (B,); training uses these.

        `hidden` (B, T, C): what the body makes of `ids`, where that is known already.
        """
        return self.judge(self.read(ids, ends, hidden))

    def read(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Reading:
        """The body's part of `raw`: it changes only where the body learns."""
        hidden = self.body.hidden(ids) if hidden is None else hidden
        at_ends = hidden[torch.arange(len(ids), device=ids.device), ends]
        if self.confidence is None:
            return Reading(at_ends, at_ends[:0], hidden.new_zeros(0, FEATURES), ends[:0])
        answer = self.confidence.answer_words(ids, ends)  # (B, T-1)
        states, words = hidden[:, :-1][answer], ids[:, 1:][answer]  # (N, C), (N)
        features = torch.cat([word_features(logp, some) for logp, some in self._predictions(states, words)])
        return Reading(at_ends, states, features, answer.nonzero()[:, 0])

    def judge(self, reading: Reading) -> Tensor:
        """The heads' part of `raw`: unshifted scores (B,)."""
        scores = self.scores(reading.ends)
        if self.confidence is None:
            return scores
        term: Tensor = self.confidence(reading.states, reading.features, reading.rows, len(scores))
        return scores + term

    def score(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The reward (B,) that every reader applies; arguments as of `raw`."""
        return self._calibrated(self.raw(ids, ends, hidden))

    def foresee(self, states: Tensor, words: Tensor) -> Foresight:
        """The body's part of `values`: it changes only where the body learns. Arguments as there."""
        if self.confidence is None:
            nothing = states.new_zeros(len(states), 0)
            return Foresight(states, features=nothing, expected=nothing)
        found = [
            (word_features(logp, some), expected_features(logp))
            for logp, some in self._predictions(states, words)
        ]
        features, expected = (torch.cat(parts) for parts in zip(*found, strict=True))
        return Foresight(states, features, expected)

    @torch.no_grad()
    def _predictions(self, states: Tensor, words: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """states (N, C), words (N) -> log-probabilities (n, V) of some states, and their words, in order."""
        piece = max(1, LOGITS_AT_ONCE // self.body.config.vocab_size)
        for i in range(0, max(1, len(words)), piece):
            yield log_probabilities(self.body.logits(states[i : i + piece])), words[i : i + piece]

    def values(self, foresight: Foresight, rows: Tensor, count: int) -> Tensor:
        """As a critic: the reward (N,) expected of `count` answers before each of their N words is chosen.

        foresight: of states (N, C) that the words were chosen from and of the words (N), ids, those of an answer next
        to one another and in order; rows (N): the answer of each word, 0 ... count - 1.
        """
        raw = self.scores(foresight.states)
        if self.confidence is not None:
            one = foresight
            raw = raw + self.confidence.so_far(one.states, one.features, one.expected, rows, count)
        return self._calibrated(raw)

    def _calibrated(self, raw: Tensor) -> Tensor:
        return (raw - self.reward_shift.to(raw.dtype)) * self.reward_scale.to(raw.dtype)

    def calibrate(self, *, reward_shift: float, reward_scale: float) -> None:
        """Set what `score` subtracts and multiplies by (both are saved with the model)."""
        self.reward_shift.fill_(reward_shift)
        self.reward_scale.fill_(reward_scale)
