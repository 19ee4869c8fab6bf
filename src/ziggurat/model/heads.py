"""A scalar beside every token: the reward model and the critic.

Both are a Transformer body with one linear head. The critic reads it at every position; the reward model at the
end-of-turn token alone (never the padding), shifted and scaled so that every reader sees the same units.
Source: InstructGPT (arXiv:2203.02155), 3.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ziggurat.model.doubt import Doubt
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
    ) -> None:
        super().__init__(body)
        self.register_buffer("reward_shift", torch.tensor(reward_shift, dtype=torch.float64))
        self.register_buffer("reward_scale", torch.tensor(reward_scale, dtype=torch.float64))
        self.doubt_after = doubt_after
        if doubt_after is not None:
            self.doubt = Doubt(body.config.d_model)

    def raw(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """ids (B, T), ends (B,) positions of the end-of-turn tokens -> unshifted scores (B,); what training reads.

        `hidden` (B, T, C): what the body makes of `ids`, where that is known already.
        """
        hidden = self.body.hidden(ids) if hidden is None else hidden
        scores = self.scores(hidden[torch.arange(len(ids), device=ids.device), ends])
        return scores if self.doubt_after is None else scores + self._doubt(hidden, ids, ends)

    def _doubt(self, hidden: Tensor, ids: Tensor, ends: Tensor) -> Tensor:
        """What is heard of the answers' words, (B,)."""
        at = torch.arange(ids.shape[1], device=ids.device)
        opened = torch.where((ids == self.doubt_after) & (at < ends[:, None]), at, -1).amax(
            dim=1, keepdim=True
        )
        answer = (at[1:] > opened) & (
            at[1:] <= ends[:, None]
        )  # (B, T-1): the word at t + 1 belongs to the answer
        before, words = hidden[:, :-1][answer], ids[:, 1:][answer]  # (N, C), (N)
        with torch.no_grad():
            logits = self.body.logits(before)
        summed: Tensor = self.doubt(before, logits, words, answer.nonzero()[:, 0], len(ids))
        return summed

    def score(self, ids: Tensor, ends: Tensor, hidden: Tensor | None = None) -> Tensor:
        """The reward (B,) that every reader applies; arguments as of `raw`."""
        return self._calibrated(self.raw(ids, ends, hidden))

    def values(self, states: Tensor, words: Tensor, rows: Tensor, count: int) -> Tensor:
        """As a critic: the reward (N,) expected of `count` answers before each of their N words is chosen.

        states (N, C) that the words were chosen from; words (N) ids, those of an answer next to one another and in
        order; rows (N): the answer that each belongs to, 0 ... count - 1.
        """
        raw = self.scores(states)
        if self.doubt_after is not None:
            with torch.no_grad():
                logits = self.body.logits(states)
            raw = raw + self.doubt.so_far(states, logits, words, rows, count)
        return self._calibrated(raw)

    def _calibrated(self, raw: Tensor) -> Tensor:
        return (raw - self.reward_shift.to(raw.dtype)) * self.reward_scale.to(raw.dtype)

    def calibrate(self, *, reward_shift: float, reward_scale: float) -> None:
        """Set what `score` subtracts and multiplies by (both are saved with the model)."""
        self.reward_shift.fill_(reward_shift)
        self.reward_scale.fill_(reward_scale)
