"""Packing: documents, joined by `<|endoftext|>` and cut into rows of T+1 ids.

Two documents "a b c" and "d e" with T = 3 become the stream `a b c . d e .` and the rows

    a b c .          inputs a b c, targets b c .
          . d e .    inputs . d e, targets d e .

Neighbouring rows share one token, the target of one and the first input of the next, so every token of the stream
but the first is a target once. The last row steps back to end on the stream's last token: nothing is lost and
nothing is padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ziggurat.errors import DataError

Ids = NDArray[np.int32]


def join(docs: Iterable[Sequence[int]], endoftext: int) -> Ids:
    """The stream: every document followed by `endoftext`."""
    parts = [np.asarray([*doc, endoftext], dtype=np.int32) for doc in docs]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32)


def cut(stream: Ids, T: int) -> Ids:
    """Rows (N, T+1) of a stream, neighbours sharing one token, the last one stepping back to the end."""
    if len(stream) < T + 1:
        raise DataError(
            f"the whole text has {len(stream)} tokens and one row of context {T} needs {T + 1}; "
            "give more text or a smaller context"
        )
    starts = list(range(0, len(stream) - T, T))
    if starts[-1] + T + 1 < len(stream):
        starts.append(len(stream) - T - 1)
    return stream[np.asarray(starts)[:, None] + np.arange(T + 1)]  # (N, T+1)


def pack_rows(docs: Iterable[Sequence[int]], T: int, endoftext: int) -> Ids:
    """One stream, cut into rows (N, T+1)."""
    return cut(join(docs, endoftext), T)


def pack_streams(docs_by_stream: Sequence[Iterable[Sequence[int]]], T: int, endoftext: int) -> Ids:
    """B streams read side by side: batches (N, B, T+1) in which row b continues row b of the batch before.

    A stream that ends before the longest one begins again from its start.
    """
    rows = [pack_rows(docs, T, endoftext) for docs in docs_by_stream]
    longest = max(len(stream) for stream in rows)
    return np.stack([stream[np.arange(longest) % len(stream)] for stream in rows], axis=1)  # (N, B, T+1)


def segments(ids: NDArray[Any], endoftext: int) -> Ids:
    """The number of each token's document within its row (B, T); attention inside documents compares them.

    An `<|endoftext|>` belongs to the document that it ends:  a b . c d  ->  0 0 0 1 1
    """
    ends = (ids == endoftext).astype(np.int32)
    numbers: Ids = np.cumsum(ends, axis=-1, dtype=np.int32) - ends
    return numbers


class RowBatches:
    """Batches of rows in an order shuffled anew for each epoch, from the seed and the epoch's number alone.

    The position is two integers, so a resumed run sees the very same batches. A batch that reaches the end of an
    epoch is filled from the next one: each row is seen once an epoch and every batch is full.
    """

    def __init__(self, rows: Ids, batch_rows: int, seed: int):
        if len(rows) == 0:
            raise DataError("there are no rows to train on; give more text")
        if batch_rows < 1:
            raise ValueError(f"batch_rows must be at least 1, got {batch_rows}")
        self.rows = rows
        self.batch_rows = batch_rows
        self.seed = seed
        self.epoch = 0
        self.position = 0  # rows of this epoch already given out
        self._order = self._shuffled(0)

    def next(self) -> Ids:
        """The next (batch_rows, T+1)."""
        picked: list[NDArray[np.int64]] = []
        missing = self.batch_rows
        while missing:
            if self.position == len(self.rows):
                self.epoch, self.position = self.epoch + 1, 0
                self._order = self._shuffled(self.epoch)
            some = self._order[self.position : self.position + missing]
            self.position += len(some)
            missing -= len(some)
            picked.append(some)
        return self.rows[np.concatenate(picked)]

    def state(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position, "rows": len(self.rows), "seed": self.seed}

    def restore(self, state: dict[str, int]) -> None:
        expected = {"rows": len(self.rows), "seed": self.seed}
        found = {key: state[key] for key in expected}
        if found != expected:
            raise DataError(
                f"the data is not what the checkpoint was made with: it had {found}, here is {expected}"
            )
        self.epoch, self.position = state["epoch"], state["position"]
        self._order = self._shuffled(self.epoch)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
