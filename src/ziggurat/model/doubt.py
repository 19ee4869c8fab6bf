"""What a model hears of its own doubt: how sure its language model is of the words of an answer.

A claim that the model itself finds improbable is likely false, and one of several that it finds possible is a guess.
The state at the end of an answer holds neither (docs/LOG.md); the probabilities of its words do, at the word where the
value stands. So a few heads each choose words, by attention over the answer, and hear three numbers of them:

    log p           of the word that was written, at least -SURPRISE_FLOOR_NATS
    p               the same, as a probability
    H p / p_max     the entropy H of what might have stood there, where the word is (nearly) the likeliest; 0 where
                    another was far likelier: so a guess is told from an admission made in its place

    doubt(x, y) = sum over heads of weigh · sum over the words t of y of softmax_t(look · h_t) (log p, p, H p / p_max)_t

No gradient flows into the probabilities. Zero at first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ziggurat.model.layers import Linear

HEADS = 4
HEARD = 3
SURPRISE_FLOOR_NATS = 4.0
"""Surprises beyond this are heard alike: one odd token must not drown the rest."""

LOOK_GAIN, WEIGH_GAIN = 3.0, 30.0
"""The two parts learn this much faster than a head of the body's states: few numbers, seen by every answer alike."""


class Doubt(nn.Module):
    """Hidden states and probabilities of answers -> a term of their scores."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.look = Linear(d_model, HEADS, bias=False)
        self.weigh = nn.Parameter(torch.zeros(HEADS, HEARD))
        with torch.no_grad():  # heads that begin alike would stay alike
            start = torch.randn(HEADS, d_model, generator=torch.Generator().manual_seed(0))
            self.look.weight.copy_(start * (0.02 / LOOK_GAIN))

    def forward(self, before: Tensor, logits: Tensor, words: Tensor, rows: Tensor, count: int) -> Tensor:
        """The doubts (count,) of `count` answers whose N words are given in one list.

        before (N, C): states that each word was written from; logits (N, V) there; words (N): ids; rows (N): the answer
        that each belongs to, 0 ... count - 1.
        """
        heard = hear(logits, words)  # (N, 3)
        look = LOOK_GAIN * self.look(before.float())  # (N, heads)
        index = rows[:, None].expand(-1, HEADS)
        top = look.new_full((count, HEADS), -torch.inf).scatter_reduce(0, index, look.detach(), "amax")
        share = (look - top[rows]).exp()
        total = look.new_zeros(count, HEADS).index_add(0, rows, share)
        share = share / total[rows]  # softmax over the words of each answer
        term = WEIGH_GAIN * (share * (heard @ self.weigh.T)).sum(dim=1)  # (N,)
        summed: Tensor = look.new_zeros(count).index_add(0, rows, term)
        return summed


@torch.no_grad()
def hear(logits: Tensor, words: Tensor) -> Tensor:
    """(N, V), (N) -> (N, 3): log p, p and H p / p_max of each word, as in the module's head."""
    logp = logits.float().log_softmax(dim=-1)
    said = logp.gather(1, words[:, None])[:, 0]
    entropy_nats = -(logp.exp() * logp).sum(dim=-1)
    likeliest = (said - logp.amax(dim=-1)).exp()
    return torch.stack((said.clamp(min=-SURPRISE_FLOOR_NATS), said.exp(), entropy_nats * likeliest), dim=-1)
