"""The bookkeeping of running sequences as columns of numpy arrays: one row per slot, no loop over sequences per token.

Rows 0..B-1 are in use, in the same order as the slots of the arena. A finished row is a hole until a waiting request
takes it or the last row is moved into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ziggurat.engine.params import SamplingParams
from ziggurat.engine.sampler import Rules

NO_TOKEN = -1


class LogitsMask(Protocol):
    """Which tokens may come next in one sequence (a grammar, a schema); it follows the sequence as it grows."""

    def allowed(self) -> Tensor | None:
        """(V,) bool, true where a token may come next; None: anywhere."""
        ...

    def accept(self, token: int) -> bool:
        """`token` was chosen; false if the mask is lost, and the sequence ends as if too long."""
        ...


class StopRule(Protocol):
    """When one sequence should end beyond its stop ids (a stop string, say)."""

    def accept(self, token: int) -> bool:
        """`token` was chosen; true ends the completion, this token being its last."""
        ...


@dataclass
class Made:
    """What a preempted completion has already."""

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PromptScore:
    """What the model thought of one token of the prompt, given those before it."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]  # (token, log-probability), the most likely first
    rank: int  # among all tokens, 1 for the most likely


@dataclass(eq=False)
class LiveSequence:
    """One completion that waits or runs, with the request that it belongs to."""

    handle: int
    choice: int
    prompt: Sequence[int]
    params: SamplingParams
    key: int
    max_tokens: int  # params.max_tokens, or less where the context ends first
    stop_rule: StopRule | None = None
    logits_mask: LogitsMask | None = None
    made: Made = field(default_factory=Made)  # before it was preempted
    serial: int = 0  # in the order of admission
    prompt_scores: list[PromptScore] = field(default_factory=list)  # where params.prompt_logprobs asks

    @cached_property
    def prompt_ids(self) -> npt.NDArray[np.int32]:
        return np.asarray(self.prompt, dtype=np.int32)


class Rows:
    """Columns of all slots; `sequences` holds the objects of the rows in use, None for a hole."""

    def __init__(self, slots: int, tokens_per_slot: int) -> None:
        self.sequences: list[LiveSequence | None] = []
        self.key = np.zeros(slots, dtype=np.uint64)
        self.length = np.zeros(slots, dtype=np.int64)  # tokens in the cache
        self.target = np.zeros(slots, dtype=np.int64)  # how many must be there before the first one is drawn
        self.version = np.zeros(slots, dtype=np.int64)  # of the weights that they were begun with
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
        return len(self.sequences)

    @property
    def alive(self) -> int:
        """Rows that are no holes."""
        return sum(sequence is not None for sequence in self.sequences)

    def columns(self) -> list[npt.NDArray[np.generic]]:
        """Every column that is not derived from another, for moving rows."""
        return [value for value in vars(self).values() if isinstance(value, np.ndarray)]

    def rules(self) -> Rules:
        B = len(self)
        return Rules(self.temperature[:B], self.top_k[:B], self.top_p[:B], self.min_p[:B])

    def fill(self, row: int, sequence: LiveSequence, *, replay: bool = False) -> None:
        """Put a sequence into `row`: a hole, or the next one after the last.

        One that was preempted goes on where it stopped: what it had is prefilled, or with `replay` decoded again.
        """
        if row == len(self.sequences):
            self.sequences.append(sequence)
        else:
            self.sequences[row] = sequence
        p, made = sequence.params, 0 if replay else len(sequence.made.ids)
        self.key[row], self.count[row] = sequence.key, made
        self.tokens[row, :made], self.logprobs[row, :made] = (
            sequence.made.ids[:made],
            sequence.made.logprobs[:made],
        )
        known = self.known(row)
        self.last[row], self.length[row], self.target[row] = known[-1], 0, len(known) - 1
        self.max_tokens[row], self.min_tokens[row] = sequence.max_tokens, p.min_tokens
        self.temperature[row], self.top_k[row], self.top_p[row], self.min_p[row] = (
            p.temperature, p.top_k, p.top_p, p.min_p,
        )  # fmt: skip
        if len(p.stop_ids) > self.stops.shape[1]:
            more = len(p.stop_ids) - self.stops.shape[1]
            self.stops = np.pad(self.stops, ((0, 0), (0, more)), constant_values=NO_TOKEN)
        self.stops[row] = NO_TOKEN
        self.stops[row, : len(p.stop_ids)] = sorted(p.stop_ids)

    def ready(self) -> npt.NDArray[np.bool_]:
        """(B,) rows whose next token can be drawn: the prompt is in the cache but for its last token."""
        B = len(self)
        ready = self.length[:B] >= self.target[:B]
        for row in self.holes():
            ready[row] = False
        return ready

    def known(self, row: int) -> list[int]:
        """Prompt and completion so far; `length` of them are in the cache."""
        sequence = self.sequences[row]
        assert sequence is not None
        return [*sequence.prompt, *self.tokens[row, : self.count[row]].tolist()]

    def preempt(self, row: int) -> LiveSequence:
        """Take a sequence out of its row; it goes on where it stopped when it gets one again."""
        sequence, count = self.sequences[row], int(self.count[row])
        assert sequence is not None
        if count > len(sequence.made.ids):  # not in the midst of a replay
            sequence.made = Made(self.tokens[row, :count].tolist(), self.logprobs[row, :count].tolist())
        if len(sequence.prompt_scores) < len(sequence.prompt) - 1:
            sequence.prompt_scores.clear()  # it will be read from its beginning
        self.sequences[row] = None
        return sequence

    def holes(self) -> list[int]:
        return [row for row, sequence in enumerate(self.sequences) if sequence is None]

    def close_holes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Move the last rows into the holes; returns (source, target) so that the arena can follow."""
        holes = self.holes()
        alive = len(self) - len(holes)
        target = np.array([row for row in holes if row < alive], dtype=np.int64)
        source = np.array(
            [r for r in range(alive, len(self)) if self.sequences[r] is not None], dtype=np.int64
        )
        for column in self.columns():
            column[target] = column[source]
        for old, new in zip(source, target, strict=True):
            self.sequences[new] = self.sequences[old]
        del self.sequences[alive:]
        return source, target
