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

HEADS = 16
HEARD = 3
SURPRISE_FLOOR_NATS = 4.0
"""Surprises beyond this are heard alike: one odd token must not drown the rest."""

SHARE_FLOOR = 30.0
"""Attention is at least exp(-this) of the answer's largest, so that no running sum of it is 0."""

LOOK_GAIN, WEIGH_GAIN = 6.0, 30.0
"""The two parts learn this much faster than a head of the body's states: few numbers, seen by every answer alike."""


class Doubt(nn.Module):
    """Hidden states and probabilities of answers -> a term of their scores."""

    def __init__(self, d_model: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.look = Linear(d_model, heads, bias=False)
        self.weigh = nn.Parameter(torch.zeros(heads, HEARD))
        with torch.no_grad():  # heads that begin alike would stay alike
            start = torch.randn(heads, d_model, generator=torch.Generator().manual_seed(0))
            self.look.weight.copy_(start * (0.02 / LOOK_GAIN))

    def forward(self, before: Tensor, heard: Tensor, rows: Tensor, count: int) -> Tensor:
        """The doubts (count,) of `count` answers whose N words are given in one list.

        before (N, C): states that each word was written from; heard (N, 3): what `hear` gives of each; rows (N): the
        answer that each belongs to, 0 ... count - 1.
        """
        share = self._attend(before, rows, count)
        total = share.new_zeros(count, self.heads).index_add(0, rows, share)
        share = share / total[rows]  # softmax over the words of each answer
        term = WEIGH_GAIN * (share * (heard @ self.weigh.T)).sum(dim=1)  # (N,)
        summed: Tensor = share.new_zeros(count).index_add(0, rows, term)
        return summed

    def so_far(self, before: Tensor, heard: Tensor, expected: Tensor, rows: Tensor, count: int) -> Tensor:
        """The doubt (N,) of each answer before each of its words: of the words so far, and of the one to come as it
        is expected to be. heard and expected (N, 3): what `hear` and `expect` give of each, the words of an answer
        next to one another and in order.
        """
        share = self._attend(before, rows, count)
        said = share * (heard @ self.weigh.T)  # (N, heads)
        coming = share * (expected @ self.weigh.T)
        first = torch.searchsorted(rows, torch.arange(count, device=rows.device))  # of each answer
        term = (_running(said, first, rows) - said + coming) / _running(share, first, rows)
        return WEIGH_GAIN * term.sum(dim=1)

    def _attend(self, before: Tensor, rows: Tensor, count: int) -> Tensor:
        """Attention (N, heads) paid to each word, not yet divided by the sum over its answer."""
        look = LOOK_GAIN * self.look(before.float())
        index = rows[:, None].expand(-1, self.heads)
        top = look.new_full((count, self.heads), -torch.inf).scatter_reduce(0, index, look.detach(), "amax")
        attention: Tensor = (look - top[rows]).clamp(min=-SHARE_FLOOR).exp()
        return attention


def _running(x: Tensor, first: Tensor, rows: Tensor) -> Tensor:
    """Sums (N, heads) over the words of the same answer up to and with each word."""
    total = x.double().cumsum(dim=0)
    before = torch.cat((total.new_zeros(1, x.shape[1]), total))[first]  # (count, heads)
    return (total - before[rows]).to(x.dtype)


@torch.no_grad()
def log_chances(logits: Tensor) -> Tensor:
    """(N, V) -> (N, V), fp32."""
    return logits.float().log_softmax(dim=-1)


@torch.no_grad()
def hear(logp: Tensor, words: Tensor) -> Tensor:
    """(N, V), (N) -> (N, 3): log p, p and H p / p_max of each word, as in the module's head."""
    said = logp.gather(1, words[:, None])[:, 0]
    entropy_nats = -(logp.exp() * logp).sum(dim=-1)
    likeliest = (said - logp.amax(dim=-1)).exp()
    return torch.stack((said.clamp(min=-SURPRISE_FLOOR_NATS), said.exp(), entropy_nats * likeliest), dim=-1)


@torch.no_grad()
def expect(logp: Tensor) -> Tensor:
    """(N, V) -> (N, 3): what `hear` gives on average, were the words drawn from these very chances."""
    chances = logp.exp()
    entropy_nats = -(chances * logp).sum(dim=-1)
    agreement = chances.square().sum(dim=-1)
    surprise = (chances * logp.clamp(min=-SURPRISE_FLOOR_NATS)).sum(dim=-1)
    return torch.stack((surprise, agreement, entropy_nats * agreement / chances.amax(dim=-1)), dim=-1)
