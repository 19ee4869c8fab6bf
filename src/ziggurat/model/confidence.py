"""A score head that reads how probable the language model finds the words of an answer.

A claim that the model itself finds improbable is often false, and one of several claims that it finds possible is a
guess. The last hidden state of an answer holds neither (docs/log/town.md); the probabilities of its words do.
The head adds to a reward model's score, over H attention heads and the words t of the answer,

    sum_h weights[h] · sum_t softmax_t(query[h] · state_t) features_t

where state_t is the hidden state that word t was predicted from, and features_t are three numbers:

    log p       of the word, at least LOGP_FLOOR_NATS
    p           the same, as a probability
    E p / p_max the entropy E of the prediction, where the word is (nearly) the likeliest; 0 where another word was far
                likelier. It separates a guess from an admission that is written in its place.

No gradient flows into the probabilities. A fresh head adds 0.

Legend: B answers, T tokens, N words of all answers, C model width, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ziggurat.model.layers import Linear

HEADS = 16
FEATURES = 3
LOGP_FLOOR_NATS = -4.0
"""Lower log-probabilities count as this: one odd token must not outweigh the rest."""

ATTENTION_FLOOR = 30.0
"""Attention is at least exp(-this) of the answer's largest, so that no running sum of it is 0."""

QUERY_GAIN, WEIGHT_GAIN = 6.0, 30.0
"""The two parts learn this much faster than the linear head: they are few numbers, read by every answer alike."""

OLD_NAMES = {"doubt.look": "confidence.query", "doubt.weigh": "confidence.weights"}
"""Names of parameters in files written before December 2026, and the present ones."""


def current_name(name: str) -> str:
    """The present name of a stored parameter or optimizer state."""
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


class ConfidenceHead(nn.Module):
    """States and probabilities of the words of answers -> a term of the answers' scores."""

    def __init__(self, d_model: int, answer_after: int, heads: int = HEADS) -> None:
        """answer_after: the id of the token that opens an assistant's turn. The answer is what follows the last one of
        them; with -1, or where there is none, it is everything."""
        super().__init__()
        self.answer_after, self.heads = answer_after, heads
        self.query = Linear(d_model, heads, bias=False)
        self.weights = nn.Parameter(torch.zeros(heads, FEATURES))
        with torch.no_grad():  # equal queries would stay equal
            start = torch.randn(heads, d_model, generator=torch.Generator().manual_seed(0))
            self.query.weight.copy_(start * (0.02 / QUERY_GAIN))

    def answer_words(self, ids: Tensor, ends: Tensor) -> Tensor:
        """ids (B, T), ends (B,) -> (B, T-1): whether the token at t + 1 belongs to the answer, its end included."""
        at = torch.arange(ids.shape[1], device=ids.device)
        opens = (ids == self.answer_after) & (at < ends[:, None])
        opened = torch.where(opens, at, -1).amax(dim=1, keepdim=True)
        return (at[1:] > opened) & (at[1:] <= ends[:, None])

    def forward(self, states: Tensor, features: Tensor, rows: Tensor, count: int) -> Tensor:
        """The terms (count,) of `count` answers.

        states (N, C): what each word was predicted from; features (N, 3): `word_features`; rows (N): the answer of each
        word, 0 ... count - 1.
        """
        share = self._attend(states, rows, count)
        total = share.new_zeros(count, self.heads).index_add(0, rows, share)
        share = share / total[rows]  # softmax over the words of each answer
        term = WEIGHT_GAIN * (share * (features @ self.weights.T)).sum(dim=1)  # (N,)
        summed: Tensor = share.new_zeros(count).index_add(0, rows, term)
        return summed

    def so_far(self, states: Tensor, features: Tensor, expected: Tensor, rows: Tensor, count: int) -> Tensor:
        """The term (N,) of each answer before each of its words: of the words so far, and of the expected next one.

        features and expected (N, 3): `word_features` and `expected_features`; the words of an answer stand next to one
        another and in order.
        """
        share = self._attend(states, rows, count)
        written = share * (features @ self.weights.T)  # (N, heads)
        coming = share * (expected @ self.weights.T)
        first = torch.searchsorted(rows, torch.arange(count, device=rows.device))  # word of each answer
        term = (_running(written, first, rows) - written + coming) / _running(share, first, rows)
        return WEIGHT_GAIN * term.sum(dim=1)

    def _attend(self, states: Tensor, rows: Tensor, count: int) -> Tensor:
        """Attention (N, heads) of each word, not yet divided by the sum over its answer."""
        scores = QUERY_GAIN * self.query(states.float())
        index = rows[:, None].expand(-1, self.heads)
        top = scores.new_full((count, self.heads), -torch.inf)
        top = top.scatter_reduce(0, index, scores.detach(), "amax")
        attention: Tensor = (scores - top[rows]).clamp(min=-ATTENTION_FLOOR).exp()
        return attention


def _running(x: Tensor, first: Tensor, rows: Tensor) -> Tensor:
    """Sums (N, heads) over the words of the same answer up to and with each word."""
    total = x.double().cumsum(dim=0)
    before = torch.cat((total.new_zeros(1, x.shape[1]), total))[first]  # (count, heads)
    return (total - before[rows]).to(x.dtype)


@torch.no_grad()
def log_probabilities(logits: Tensor) -> Tensor:
    """(N, V) -> (N, V), fp32."""
    return logits.float().log_softmax(dim=-1)


@torch.no_grad()
def word_features(logp: Tensor, words: Tensor) -> Tensor:
    """log-probabilities (N, V), ids (N) -> (N, 3): log p, p and E p / p_max of each word."""
    own = logp.gather(1, words[:, None])[:, 0]
    entropy_nats = -(logp.exp() * logp).sum(dim=-1)
    likeliest = (own - logp.amax(dim=-1)).exp()
    return torch.stack((own.clamp(min=LOGP_FLOOR_NATS), own.exp(), entropy_nats * likeliest), dim=-1)


@torch.no_grad()
def expected_features(logp: Tensor) -> Tensor:
    """(N, V) -> (N, 3): the mean of `word_features` over words drawn from these very probabilities."""
    p = logp.exp()
    entropy_nats = -(p * logp).sum(dim=-1)
    agreement = p.square().sum(dim=-1)
    mean_logp = (p * logp.clamp(min=LOGP_FLOOR_NATS)).sum(dim=-1)
    return torch.stack((mean_logp, agreement, entropy_nats * agreement / p.amax(dim=-1)), dim=-1)
