"""A scalar beside every token: the reward model and the critic.

Both are a Transformer body with one linear head. The critic reads it at every position; the reward model at the
end-of-turn token alone (never the padding), shifted and scaled so that every reader sees the same units.
Source: InstructGPT (arXiv:2203.02155), 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from ziggurat.model.doubt import HEADS, HEARD, Doubt, expect, hear, log_chances
from ziggurat.model.layers import Linear
from ziggurat.model.transformer import Transformer


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
    """What a reward model's body makes of B answers: all that their scores are read off."""

    ends: Tensor  # (B, C) states at the end-of-turn tokens
    before: Tensor  # (N, C) states that the answers' N words were written from; N = 0 without `doubt_after`
    heard: Tensor  # (N, 3) how sure the language model is of each word (`model.doubt.hear`)
    rows: Tensor  # (N,) the answer that each word belongs to, 0 ... B - 1, in order

    def split(self, answers: Sequence[int]) -> list[Reading]:
        """Readings of so many answers each."""
        first_answers = [0, *accumulate(answers)]
        at = torch.searchsorted(self.rows, torch.tensor(first_answers, device=self.rows.device)).tolist()
        return [
            Reading(self.ends[i:j], self.before[m:n], self.heard[m:n], self.rows[m:n] - i)
            for (i, j), (m, n) in zip(pairwise(first_answers), pairwise(at), strict=True)
        ]

    @staticmethod
    def join(readings: Sequence[Reading]) -> Reading:
        """One reading of all their answers, in order."""
        firsts = [0, *accumulate(len(one.ends) for one in readings[:-1])]
        rows = [one.rows + first for one, first in zip(readings, firsts, strict=True)]
        ends, before, heard = (
            [getattr(one, name) for one in readings] for name in ("ends", "before", "heard")
        )
        return Reading(torch.cat(ends), torch.cat(before), torch.cat(heard), torch.cat(rows))


@dataclass(frozen=True)
class Foresight:
    """What a critic's body makes of N words before they are chosen: all that values are read off."""

    states: Tensor  # (N, C)
    heard: Tensor  # (N, 3) as of a Reading; (N, 0) without `doubt_after`
    expected: Tensor  # (N, 3) the same as it is to be expected (`model.doubt.expect`)


class RewardModel(ScalarModel):
    """A ScalarModel whose reward is (score at the end-of-turn token - reward_shift) * reward_scale.

    With `doubt_after` it also hears how sure its own language model is of the words of the answer (`model.doubt`),
    which are what follows the last token with the id `doubt_after` (the one that opens an assistant's turn).
    """

    reward_shift: Tensor
    reward_scale: Tensor

    def __init__(
        self,
        body: Transformer,
        *,
        reward_shift: float = 0.0,
        reward_scale: float = 1.0,
        doubt_after: int | None = None,
        doubt_heads: int = HEADS,
    ) -> None:
        super().__init__(body)
        self.register_buffer("reward_shift", torch.tensor(reward_shift, dtype=torch.float64))
        self.register_buffer("reward_scale", torch.tensor(reward_scale, dtype=torch.float64))
        self.doubt_after = doubt_after
        if doubt_after is not None:
            self.doubt = Doubt(body.config.d_model, doubt_heads)

    def raw(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """ids (B, T), ends (B,) positions of the end-of-turn tokens -> unshifted scores (B,); what training reads.

        `hidden` (B, T, C): what the body makes of `ids`, where that is known already.
        """
        return self.judge(self.read(ids, ends, hidden))

    def read(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Reading:
        """The body's part of `raw`: it changes only where the body learns."""
        hidden = self.body.hidden(ids) if hidden is None else hidden
        at_ends = hidden[torch.arange(len(ids), device=ids.device), ends]
        if self.doubt_after is None:
            return Reading(at_ends, at_ends[:0], hidden.new_zeros(0, HEARD), ends[:0])
        at = torch.arange(ids.shape[1], device=ids.device)
        opens = (ids == self.doubt_after) & (at < ends[:, None])
        opened = torch.where(opens, at, -1).amax(dim=1, keepdim=True)
        # (B, T-1): whether the word at t + 1 belongs to the answer
        answer = (at[1:] > opened) & (at[1:] <= ends[:, None])
        before, words = hidden[:, :-1][answer], ids[:, 1:][answer]  # (N, C), (N)
        with torch.no_grad():
            heard = hear(log_chances(self.body.logits(before)), words)
        return Reading(at_ends, before, heard, answer.nonzero()[:, 0])

    def judge(self, reading: Reading) -> Tensor:
        """The heads' part of `raw`: unshifted scores (B,)."""
        scores = self.scores(reading.ends)
        if self.doubt_after is None:
            return scores
        summed: Tensor = scores + self.doubt(reading.before, reading.heard, reading.rows, len(scores))
        return summed

    def score(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The reward (B,) that every reader applies; arguments as of `raw`."""
        return self._calibrated(self.raw(ids, ends, hidden))

    def foresee(self, states: Tensor, words: Tensor) -> Foresight:
        """The body's part of `values`: it changes only where the body learns. Arguments as there."""
        if self.doubt_after is None:
            nothing = states.new_zeros(len(states), 0)
            return Foresight(states, heard=nothing, expected=nothing)
        with torch.no_grad():
            logp = log_chances(self.body.logits(states))
            return Foresight(states, hear(logp, words), expect(logp))

    def values(self, foresight: Foresight, rows: Tensor, count: int) -> Tensor:
        """As a critic: the reward (N,) expected of `count` answers before each of their N words is chosen.

        foresight: of states (N, C) that the words were chosen from and of the words (N), ids, those of an answer next
        to one another and in order; rows (N): the answer that each belongs to, 0 ... count - 1.
        """
        raw = self.scores(foresight.states)
        if self.doubt_after is not None:
            said, expected = foresight.heard, foresight.expected
            raw = raw + self.doubt.so_far(foresight.states, said, expected, rows, count)
        return self._calibrated(raw)

    def _calibrated(self, raw: Tensor) -> Tensor:
        return (raw - self.reward_shift.to(raw.dtype)) * self.reward_scale.to(raw.dtype)

    def calibrate(self, *, reward_shift: float, reward_scale: float) -> None:
        """Set what `score` subtracts and multiplies by (both are saved with the model)."""
        self.reward_shift.fill_(reward_shift)
        self.reward_scale.fill_(reward_scale)
