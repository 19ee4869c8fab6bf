"""The bookkeeping of running sequences as columns of numpy arrays: one row per slot, no loop over sequences per token.

Rows 0..B-1 are in use, in the same order as the slots of the arena. A finished row is a hole until a waiting request
takes it or the last row is moved into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ziggurat.engine.sampler import Rules, SamplingParams

NO_TOKEN = -1


class LogitsMask(Protocol):
    """Which tokens may come next in one sequence (a grammar, a schema); it follows the sequence as it grows."""

    def allowed(self) -> Tensor | None:
        """(V,) bool, true where a token may come next; None: anywhere."""
        ...

    def accept(self, token: int) -> None:
        """`token` was chosen."""
        ...


class StopRule(Protocol):
    """When one sequence should end beyond its stop ids (a stop string, say)."""

    def accept(self, token: int) -> bool:
        """`token` was chosen; true ends the completion, this token being its last."""
        ...


@dataclass(eq=False)
class Draft:
    """One completion being made: what was asked, and by whom."""

    handle: int
    choice: int
    prompt: Sequence[int]
    params: SamplingParams
    key: int
    max_tokens: int  # params.max_tokens, or less where the context ends first
    stop_rule: StopRule | None = None
    logits_mask: LogitsMask | None = None


class Rows:
    """Columns of all slots; `drafts` holds the objects of the rows in use, None for a hole."""

    def __init__(self, slots: int, tokens_per_slot: int) -> None:
        self.drafts: list[Draft | None] = []
        self.key = np.zeros(slots, dtype=np.uint64)
        self.length = np.zeros(slots, dtype=np.int64)  # tokens in the cache
        self.last = np.zeros(slots, dtype=np.int64)  # the newest token, not in the cache yet
        self.count = np.zeros(slots, dtype=np.int64)  # tokens generated
        self.max_tokens = np.zeros(slots, dtype=np.int64)
        self.min_tokens = np.zeros(slots, dtype=np.int64)
        self.temperature = np.zeros(slots, dtype=np.float32)
        self.top_k = np.zeros(slots, dtype=np.int64)
        self.top_p = np.zeros(slots, dtype=np.float32)
        self.min_p = np.zeros(slots, dtype=np.float32)
        self.stops = np.full((slots, 1), NO_TOKEN, dtype=np.int64)  # padded with NO_TOKEN
        self.tokens = np.zeros((slots, tokens_per_slot), dtype=np.int32)  # what was generated
        self.logprobs = np.zeros((slots, tokens_per_slot), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.drafts)

    def columns(self) -> list[npt.NDArray[np.generic]]:
        """Every column that is not derived from another, for moving rows."""
        return [value for value in vars(self).values() if isinstance(value, np.ndarray)]

    def rules(self) -> Rules:
        B = len(self)
        return Rules(self.temperature[:B], self.top_k[:B], self.top_p[:B], self.min_p[:B])

    def fill(self, row: int, draft: Draft) -> None:
        """Put a new sequence into `row`: a hole, or the next one after the last."""
        if row == len(self.drafts):
            self.drafts.append(draft)
        else:
            self.drafts[row] = draft
        p = draft.params
        self.key[row], self.length[row], self.last[row] = draft.key, len(draft.prompt) - 1, draft.prompt[-1]
        self.count[row], self.max_tokens[row], self.min_tokens[row] = 0, draft.max_tokens, p.min_tokens
        self.temperature[row], self.top_k[row], self.top_p[row], self.min_p[row] = (
            p.temperature, p.top_k, p.top_p, p.min_p,
        )  # fmt: skip
        if len(p.stop_ids) > self.stops.shape[1]:
            more = len(p.stop_ids) - self.stops.shape[1]
            self.stops = np.pad(self.stops, ((0, 0), (0, more)), constant_values=NO_TOKEN)
        self.stops[row] = NO_TOKEN
        self.stops[row, : len(p.stop_ids)] = sorted(p.stop_ids)

    def holes(self) -> list[int]:
        return [row for row, draft in enumerate(self.drafts) if draft is None]

    def close_holes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Move the last rows into the holes; returns (source, target) so that the arena can follow."""
        holes = self.holes()
        alive = len(self) - len(holes)
        target = np.array([row for row in holes if row < alive], dtype=np.int64)
        source = np.array([r for r in range(alive, len(self)) if self.drafts[r] is not None], dtype=np.int64)
        for column in self.columns():
            column[target] = column[source]
        for old, new in zip(source, target, strict=True):
            self.drafts[new] = self.drafts[old]
        del self.drafts[alive:]
        return source, target
