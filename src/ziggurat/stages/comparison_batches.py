"""Comparisons as the reward model sees them: K rendered rows each, batched whole, comparisons of like length together.

A comparison is never split: its K rows stand one after another in a batch, so that all its pairs are one element of
the loss. Rows are padded on the right; the score is read at the token that ends the assistant's turn, and since the
model is causal the padding behind it is never seen. Of a body that stays still everything is read once (`read_once`),
and the batches hold what was read.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ziggurat.errors import ContextError, DataError
from ziggurat.model.heads import Reading, RewardModel
from ziggurat.records import Comparison, Message
from ziggurat.tokenizer.template import ChatTemplate

WINDOW_BATCHES = 16
"""Comparisons are sorted by length inside windows of so many batches: little padding, and still a shuffle."""


@dataclass(frozen=True)
class Ranked:
    """One comparison as ids: K conversations, each ending in its end-of-turn token, and their ranks."""

    rows: list[list[int]]
    ranks: list[int]


@dataclass(frozen=True)
class RankedBatch:
    """ids (B, T) with B = sum of all K, ends (B,), and the ranks of each comparison."""

    ids: Tensor
    ends: Tensor
    ranks: list[list[int]]


@dataclass(frozen=True)
class ReadBatch:
    """What a still body made of all B completions, and the ranks of each comparison."""

    reading: Reading
    ranks: list[list[int]]


def conversation(prompt: Sequence[Message], completion: str | Sequence[Message]) -> list[Message]:
    """The prompt with its completion, as messages."""
    answer = (
        [Message(role="assistant", content=completion)] if isinstance(completion, str) else list(completion)
    )
    return [*prompt, *answer]


def render_scored(
    conversations: Sequence[Sequence[Message]],
    template: ChatTemplate,
    context: int,
    what: str,
    tools: Sequence[Sequence[dict[str, Any]] | None] | None = None,
) -> list[list[int]]:
    """Ids up to and with the token that ends the last assistant message: the place where rewards are read."""
    rows = []
    for number, (messages, rendered) in enumerate(
        zip(conversations, template.render_many(conversations, tools=tools), strict=True), start=1
    ):
        trained = [i for i, flag in enumerate(rendered.mask) if flag]
        if not trained:
            raise DataError(
                f"{what} {number} ends on {messages[-1].role!r} with nothing to score; end on the assistant."
            )
        ids = rendered.ids[: trained[-1] + 1]
        if len(ids) > context:
            raise ContextError(
                f"{what} {number} has {len(ids):,} tokens, the model's context is {context:,}; shorten or drop it"
            )
        rows.append(ids)
    return rows


def render_comparisons(
    comparisons: Sequence[Comparison], template: ChatTemplate, context: int
) -> list[Ranked]:
    """Every comparison as ids; one that does not fit is named."""
    every = [[conversation(c.prompt, completion) for completion in c.completions] for c in comparisons]
    tools = [c.tools for c in comparisons for _ in c.completions]
    rows = iter(render_scored([one for k in every for one in k], template, context, "completion", tools))
    return [Ranked([next(rows) for _ in c.completions], list(c.ranks)) for c in comparisons]


def collate(ranked: Sequence[Ranked], pad_id: int, device: torch.device) -> RankedBatch:
    """Right-padded rows of whole comparisons."""
    rows = [row for one in ranked for row in one.rows]
    ids = torch.full((len(rows), max(map(len, rows))), pad_id, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    ends = torch.tensor([len(row) - 1 for row in rows])
    return RankedBatch(ids.to(device), ends.to(device), [one.ranks for one in ranked])


@torch.no_grad()
def read_once(
    model: RewardModel, ranked: Sequence[Ranked], pad_id: int, *, batch_tokens: int = 8192
) -> list[Reading]:
    """What the body makes of each comparison, of like length together."""
    device = model.head.weight.device
    longest = [max(map(len, one.rows)) for one in ranked]
    order = sorted(range(len(ranked)), key=lambda i: longest[i])
    found: dict[int, Reading] = {}
    while order:
        count, tokens = 0, 0
        while count < len(order) and (not count or tokens <= batch_tokens):
            tokens += longest[order[count]] * len(ranked[order[count]].rows)
            count += 1
        chosen, order = order[:count], order[count:]
        batch = collate([ranked[i] for i in chosen], pad_id, device)
        parts = model.read(batch.ids, batch.ends).split([len(ranks) for ranks in batch.ranks])
        found.update(zip(chosen, parts, strict=True))
    return [found[i] for i in range(len(ranked))]


class ComparisonBatches:
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
        self.ranked, self.size, self.pad_id, self.seed, self.device = ranked, size, pad_id, seed, device
        self.readings = readings
        self.position = 0
        self._order: tuple[int, list[list[int]]] = (-1, [])

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.ranked) // self.size)

    def next(self) -> RankedBatch | ReadBatch:
        epoch, index = divmod(self.position, self.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self._epoch(epoch))
        self.position += 1
        chosen = self._order[1][index]
        if self.readings is not None:
            ranks = [self.ranked[i].ranks for i in chosen]
            return ReadBatch(Reading.join([self.readings[i] for i in chosen]), ranks)
        return collate([self.ranked[i] for i in chosen], self.pad_id, self.device)

    def state(self) -> dict[str, Any]:
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])

    def _epoch(self, epoch: int) -> list[list[int]]:
        """Batches of comparison numbers: shuffle, sort windows by length, cut, shuffle the batches."""
        chance = random.Random(f"{self.seed} comparisons {epoch}")
        order = list(range(len(self.ranked)))
        chance.shuffle(order)
        window = self.size * WINDOW_BATCHES
        for start in range(0, len(order), window):
            order[start : start + window] = sorted(
                order[start : start + window], key=lambda i: max(map(len, self.ranked[i].rows))
            )
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        chance.shuffle(batches)
        return batches


def split_batch(batch: RankedBatch | ReadBatch, pieces: int) -> list[Any]:
    """At most `pieces` microbatches of whole comparisons; what was read already is one, as it takes little memory."""
    if isinstance(batch, ReadBatch):
        return [batch]
    cut: list[RankedBatch] = []
    size = -(-len(batch.ranks) // pieces)
    row = 0
    for start in range(0, len(batch.ranks), size):
        ranks = batch.ranks[start : start + size]
        rows = sum(map(len, ranks))
        cut.append(RankedBatch(batch.ids[row : row + rows], batch.ends[row : row + rows], ranks))
        row += rows
    return cut
