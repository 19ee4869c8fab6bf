"""Batches of examples in shuffled epochs: the order follows from the seed and the epoch, the position is one number.

Examples of similar length come together, inside windows of WINDOW_BATCHES: little padding, and still a shuffle.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

WINDOW_BATCHES = 16


class Shuffled:
    """Numbers of examples, batch after batch; a class that inherits it makes tensors of them (`training.Batches`)."""

    def __init__(self, lengths: Sequence[int], size: int, name: str) -> None:
        """`lengths`: tokens of each example. `name`: seed and purpose; the order is a function of it and the epoch."""
        self.lengths, self.size, self.name = lengths, size, name
        self.position = 0
        self._order: tuple[int, list[list[int]]] = (-1, [])

    @property
    def batches_per_epoch(self) -> int:
        return -(-len(self.lengths) // self.size)

    def chosen(self) -> list[int]:
        """The numbers of the next batch."""
        epoch, index = divmod(self.position, self.batches_per_epoch)
        if self._order[0] != epoch:
            self._order = (epoch, self._epoch(epoch))
        self.position += 1
        return self._order[1][index]

    def state(self) -> dict[str, Any]:
        return {"position": self.position}

    def restore(self, state: dict[str, Any]) -> None:
        self.position = int(state["position"])

    def _epoch(self, epoch: int) -> list[list[int]]:
        """Shuffle, sort windows by length, cut into batches, shuffle the batches."""
        chance = random.Random(f"{self.name} {epoch}")
        order = list(range(len(self.lengths)))
        chance.shuffle(order)
        window = self.size * WINDOW_BATCHES
        for start in range(0, len(order), window):
            order[start : start + window] = sorted(
                order[start : start + window], key=lambda i: self.lengths[i]
            )
        batches = [order[i : i + self.size] for i in range(0, len(order), self.size)]
        chance.shuffle(batches)
        return batches
