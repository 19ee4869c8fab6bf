"""Batches of stages 1 and 2: rows of text, and rows of conversations with a share of text among them.

Conversations are packed several in a row and never see one another: attention stays inside each (`segments`) and
positions begin again at 0, so the model learns exactly what it will be asked when it serves. Order and packing of
an epoch follow from the seed and the epoch's number alone; a resumed run sees the very same batches.
Left out: reading text larger than memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ziggurat.corpus.pack import RowBatches
from ziggurat.stages.losses import TokenBatch
from ziggurat.tokenizer.template import Rendered

OPEN_ROWS = 64
"""Rows kept open while packing: more fill better, fewer pack faster."""


class TextBatches:
    """Rows (N, T+1) of packed text as batches in which every token is a target."""

    def __init__(self, rows: NDArray[np.int32], batch_rows: int, seed: int) -> None:
        self._rows = RowBatches(rows, batch_rows, seed)

    def next(self) -> TokenBatch:
        ids = torch.from_numpy(self._rows.next()).long()  # (B, T+1)
        return TokenBatch(ids[:, :-1], ids[:, 1:])

    def state(self) -> dict[str, Any]:
        return self._rows.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._rows.restore(state)


def pack_conversations(lengths: Sequence[int], T: int, order: Sequence[int]) -> list[list[int]]:
    """First fit in the given order: rows of conversation numbers whose lengths together do not exceed T.

    >>> pack_conversations([5, 3, 4, 2], T=7, order=[0, 1, 2, 3])
    [[0, 3], [1, 2]]
    """
    full: list[list[int]] = []
    open_rows: list[tuple[list[int], int]] = []  # (conversations, room left)
    for number in order:
        need = lengths[number]
        for at, (row, room) in enumerate(open_rows):
            if need <= room:
                row.append(number)
                open_rows[at] = (row, room - need)
                break
        else:
            open_rows.append(([number], T - need))
            if len(open_rows) > OPEN_ROWS:
                fullest = min(range(len(open_rows)), key=lambda i: open_rows[i][1])
                full.append(open_rows.pop(fullest)[0])
    return full + [row for row, _ in open_rows]


class ConversationBatches:
    """`batch_rows` rows a step, of which `text_share` are stage-1 text with `text_weight` on each of its tokens.

    Where the share of rows is no whole number it alternates: 0.4 of 4 rows is 1, 2, 1, 2, 2 rows in turn.
    A batch that reaches the end of an epoch is filled from the next one.
    """

    def __init__(
        self,
        rendered: Sequence[Rendered],
        T: int,
        batch_rows: int,
        seed: int,
        *,
        text_rows: NDArray[np.int32] | None = None,
        text_share: float = 0.0,
        text_weight: float = 1.0,
        worth: Sequence[float] | None = None,
    ) -> None:
        """`worth`: how much each conversation counts beside the others; None: 1 each."""
        self.T, self.batch_rows, self.seed = T, batch_rows, seed
        self.text_share = text_share if text_rows is not None else 0.0
        self.text_weight = text_weight
        self._ids = [np.asarray(r.ids, dtype=np.int64) for r in rendered]
        self._masks = [
            np.asarray(r.mask, dtype=np.float32) * (1.0 if worth is None else worth[i])
            for i, r in enumerate(rendered)
        ]
        self._lengths = [len(ids) - 1 for ids in self._ids]  # inputs of a conversation
        self._text = RowBatches(text_rows, 1, seed) if text_rows is not None and text_share > 0 else None
        self.batch = self.epoch = self.position = 0
        self._begin_epoch(0)

    @property
    def rows_per_epoch(self) -> int:
        """Rows of this epoch's packing; epochs differ by a few."""
        return len(self._packed)

    @property
    def filled(self) -> float:
        """Share of a row that holds conversation rather than padding."""
        return sum(self._lengths) / (len(self._packed) * self.T)

    def next(self) -> TokenBatch:
        n_text = int((self.batch + 1) * self.text_share * self.batch_rows + 1e-9) - int(
            self.batch * self.text_share * self.batch_rows + 1e-9
        )
        self.batch += 1
        shape = (self.batch_rows, self.T)
        inputs, targets = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        weights = np.zeros(shape, dtype=np.float32)
        segments = np.full(shape, -1, dtype=np.int64)  # padding sees only padding
        positions = np.zeros(shape, dtype=np.int64)
        n_talk = self.batch_rows - n_text
        for r in range(n_talk):
            self._fill(inputs[r], targets[r], weights[r], segments[r], positions[r])
        if n_text and self._text is not None:
            self._text.batch_rows = n_text
            rows = self._text.next()  # (n_text, T+1)
            inputs[n_talk:], targets[n_talk:] = rows[:, :-1], rows[:, 1:]
            weights[n_talk:], segments[n_talk:], positions[n_talk:] = self.text_weight, 0, np.arange(self.T)
        return TokenBatch(*(torch.from_numpy(a) for a in (inputs, targets, weights, segments, positions)))

    def state(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "epoch": self.epoch,
            "position": self.position,
            "text": self._text.state() if self._text else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._begin_epoch(state["epoch"])
        self.batch, self.position = state["batch"], state["position"]
        if self._text:
            self._text.restore(state["text"])

    def _begin_epoch(self, epoch: int) -> None:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self._ids))
        packed = pack_conversations(self._lengths, self.T, order.tolist())
        mixed = np.random.default_rng([self.seed, epoch, 1]).permutation(
            len(packed)
        )  # packing sorts by fullness
        self._packed = [packed[i] for i in mixed]
        self.epoch, self.position = epoch, 0

    def _fill(
        self,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        weights: NDArray[np.float32],
        segments: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> None:
        if self.position == len(self._packed):
            self._begin_epoch(self.epoch + 1)
        at = 0
        for segment, number in enumerate(self._packed[self.position]):
            ids, end = self._ids[number], at + self._lengths[number]
            inputs[at:end], targets[at:end] = ids[:-1], ids[1:]
            weights[at:end] = self._masks[number][1:]  # the mask of a target
            segments[at:end], positions[at:end] = segment, np.arange(end - at)
            at = end
        positions[at:] = np.arange(self.T - at)
        self.position += 1
