"""Comparisons as token ids: K rows each, batched whole, comparisons of similar length together.

A comparison is never split: its K rows are neighbours in a batch, so that all its pairs are one element of the loss.
Rows are padded on the right; a reward model reads its score at the token that ends the assistant's turn, and a causal
model never attends to the padding after it. A frozen body computes every row once (`read_once`); the batches then hold
its states.

For losses on the completion's own log-probabilities (DPO, KTO), every row keeps where its completion starts. With
logits (B, T, V) of `ids`, the log-probability of the token at position t is read at t - 1, for starts <= t <= ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ziggurat.model.heads import Reading, RewardModel
from ziggurat.model.padding import padded_batches, right_pad
from ziggurat.records import Comparison, Message, completion_messages
from ziggurat.stages import setup
from ziggurat.stages.shuffled import Shuffled
from ziggurat.tokenizer.template import ChatTemplate


@dataclass(frozen=True)
class Ranked:
    """One comparison as ids: K conversations, each ending in its end-of-turn token, and their ranks."""

    rows: list[list[int]]
    ranks: list[int]
    starts: list[int]
    """Of each row, the position of the completion's first token."""
    reference: list[float] | None = None
    """Of each row, the completion's log-probability by the reference, where a loss needs it."""
    weight: float = 1.0
    """How much the comparison counts in the loss."""


@dataclass(frozen=True)
class RankedBatch:
    """Whole comparisons, right-padded."""

    ids: Tensor
    """(B, T) with B = sum of all K."""
    ends: Tensor
    """(B,) position of the end-of-turn token."""
    ranks: list[list[int]]
    """Of each comparison."""
    starts: Tensor
    """(B,) position of the completion's first token."""
    reference: Tensor | None = None
    """(B,) the completion's log-probability by the reference."""
    weights: list[float] | None = None
    """Of each comparison; None: 1."""


@dataclass(frozen=True)
class ReadBatch:
    """A frozen body's states of all B completions, and the ranks of each comparison."""

    reading: Reading
    ranks: list[list[int]]
    weights: list[float] | None = None


def conversation(prompt: Sequence[Message], completion: str | list[Message]) -> list[Message]:
    """The prompt with its completion, as messages."""
    return [*prompt, *completion_messages(completion)]


def render_comparisons(
    comparisons: Sequence[Comparison],
    template: ChatTemplate,
    context: int,
    *,
    skip: bool = False,
    what: str = "comparison",
) -> tuple[list[Comparison], list[Ranked]]:
    """The comparisons that can be used, and each as ids. One with a completion beyond the context is left out.

    `skip`: leave out comparisons that the template refuses; otherwise the first is a DataError.
    """
    found = setup.usable(template, comparisons, longest=context, skip=skip, what=what, to_answer_end=True)
    ranked = []
    for comparison, rendered in found:
        before = sum(message.role == "assistant" for message in comparison.prompt)
        starts = [one.starts[before] for one in rendered]
        weight = 1.0 if comparison.weight is None else comparison.weight
        ranked.append(Ranked([one.ids for one in rendered], list(comparison.ranks), starts, weight=weight))
    return found.records, ranked


def collate(ranked: Sequence[Ranked], pad_id: int, device: torch.device) -> RankedBatch:
    """Right-padded rows of whole comparisons."""
    rows = [row for one in ranked for row in one.rows]
    ids, lengths = right_pad(rows, pad_id)
    starts = torch.tensor([start for one in ranked for start in one.starts])
    known = [logp for one in ranked for logp in one.reference or ()]
    reference = torch.tensor(known, device=device) if known else None
    ranks = [one.ranks for one in ranked]
    weights = [one.weight for one in ranked]
    return RankedBatch(ids.to(device), lengths.to(device) - 1, ranks, starts.to(device), reference, weights)


@torch.no_grad()
def read_once(
    model: RewardModel, ranked: Sequence[Ranked], pad_id: int, *, batch_tokens: int = 8192
) -> list[Reading]:
    """The body's states of each comparison; rows of similar length are computed together."""
    rows = [row for one in ranked for row in one.rows]
    found: dict[int, Reading] = {}
    for chosen, ids, lengths in padded_batches(rows, batch_tokens, pad_id, model.head.weight.device):
        found.update(zip(chosen, model.read(ids, lengths - 1).split([1] * len(chosen)), strict=True))
    in_order = (found[i] for i in range(len(rows)))
    return [Reading.join([next(in_order) for _ in one.rows]) for one in ranked]


class ComparisonBatches(Shuffled):
    """Whole comparisons in shuffled epochs, a pure function of seed and position (`training.Batches`)."""

    def __init__(
        self,
        ranked: Sequence[Ranked],
        size: int,
        pad_id: int,
        seed: int,
        device: torch.device,
        readings: Sequence[Reading] | None = None,
    ) -> None:
        longest = [max(map(len, one.rows)) for one in ranked]
        super().__init__(longest, size, f"{seed} comparisons")
        self.ranked, self.pad_id, self.device, self.readings = ranked, pad_id, device, readings

    def next(self) -> RankedBatch | ReadBatch:
        chosen = self.chosen()
        if self.readings is not None:
            ranks = [self.ranked[i].ranks for i in chosen]
            weights = [self.ranked[i].weight for i in chosen]
            return ReadBatch(Reading.join([self.readings[i] for i in chosen]), ranks, weights)
        return collate([self.ranked[i] for i in chosen], self.pad_id, self.device)


def split_batch(batch: RankedBatch | ReadBatch, pieces: int, tokens: int = 0) -> list[Any]:
    """Microbatches of whole comparisons, at least `pieces` if there are so many, each padded to its own longest row.

    `tokens`: what a microbatch of several comparisons may hold, padding included; 0: any number. A ReadBatch stays
    whole, as its loss takes little memory.
    """
    if isinstance(batch, ReadBatch):
        return [batch]
    lengths = (batch.ends + 1).tolist()
    size = -(-len(batch.ranks) // pieces)
    cut: list[RankedBatch] = []
    first = row = 0  # of the microbatch: its first comparison and its first row
    while first < len(batch.ranks):
        last = end = width = 0
        for last in range(first, min(first + size, len(batch.ranks))):
            more = len(batch.ranks[last])
            wider = max(width, *lengths[row + end : row + end + more])
            if end and tokens and (end + more) * wider > tokens:
                break
            width, end = wider, end + more
        else:
            last += 1
        part = slice(row, row + end)
        ranks = batch.ranks[first:last]
        known = None if batch.reference is None else batch.reference[part]
        weights = None if batch.weights is None else batch.weights[first:last]
        cut.append(
            RankedBatch(batch.ids[part, :width], batch.ends[part], ranks, batch.starts[part], known, weights)
        )
        first, row = last, row + end
    return cut
