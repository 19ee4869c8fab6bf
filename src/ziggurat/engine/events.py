"""What comes out of the engine: an event for each token, and whole completions for those who wait for the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ziggurat.engine.rows import Draft, PromptScore

Handle = int
Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Event:
    """One token of one request, or the news that it ended."""

    handle: Handle
    token: int  # NO_TOKEN (-1) where a request was cancelled
    logprob: float  # of the tempered, full-vocabulary distribution, before penalties, masks and cuts
    index: int  # 0 for the first token of the completion
    finish: Finish | None  # set with the last token
    weight_version: int
    choice: int = 0  # which of the `n` completions
    top: tuple[tuple[int, float], ...] = ()  # the most likely alternatives, where `logprobs` asked for them
    prompt_scores: tuple[
        PromptScore, ...
    ] = ()  # with the first token, where `prompt_logprobs` asked for them


@dataclass(frozen=True, slots=True)
class Completion:
    """What `generate` returns; `ids` ends with the stop id if `finish` is "stop"."""

    ids: list[int]
    logprobs: list[float]
    finish: Finish


@dataclass(frozen=True)
class Advance:
    """What one step did to the rows 0..B-1. A row whose prompt was not there yet has no draft."""

    drafts: list[Draft | None]
    tokens: npt.NDArray[np.int64]  # (B,)
    logprobs: npt.NDArray[np.float32]  # (B,)
    stopped: npt.NDArray[np.bool_]  # (B,)
    ended: npt.NDArray[np.bool_]  # (B,) stopped or at the length limit
    distribution: Tensor  # (B, V) log-probabilities

    def finish(self, row: int) -> Finish | None:
        return None if not self.ended[row] else "stop" if self.stopped[row] else "length"
