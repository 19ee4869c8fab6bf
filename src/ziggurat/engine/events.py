"""What comes out of the engine: an event for each token, or whole completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ziggurat.engine.rows import LiveSequence, PromptScore

Handle = int
Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Event:
    """One token of one request, or its cancellation."""

    handle: Handle
    token: int  # NO_TOKEN (-1) where a request was cancelled
    logprob: float  # of the tempered, full-vocabulary distribution, before penalties, masks and cuts
    index: int  # 0 for the first token of the completion
    finish: Finish | None  # set with the last token
    weight_version: int
    choice: int = 0  # which of the `n` completions
    top: tuple[tuple[int, float], ...] = ()  # the most likely alternatives, if `logprobs` is set
    prompt_scores: tuple[PromptScore, ...] = ()  # with the first token, if `prompt_logprobs` is set


@dataclass(frozen=True, slots=True)
class Completion:
    """What `generate` returns; `ids` ends with the stop id if `finish` is "stop"."""

    ids: list[int]
    logprobs: list[float]
    finish: Finish


@dataclass(frozen=True)
class Advance:
    """What one step did to the rows 0..B-1. A row whose prompt was not there yet has no sequence."""

    sequences: list[LiveSequence | None]
    tokens: npt.NDArray[np.int64]  # (B,)
    logprobs: npt.NDArray[np.float32]  # (B,)
    stopped: npt.NDArray[np.bool_]  # (B,)
    ended: npt.NDArray[np.bool_]  # (B,) stopped or at the length limit
    distribution: Tensor  # (B, V) log-probabilities

    def finish(self, row: int) -> Finish | None:
        return None if not self.ended[row] else "stop" if self.stopped[row] else "length"
