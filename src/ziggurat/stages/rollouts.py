"""Rollouts: completions made for learning, cut into microbatches, and the table of numbers that PPO keeps of them.

What it leaves out: what the numbers are for (`ppo_update.py`) and how tokens are drawn (the engine). Every prompt is
rendered by the chat template, so a rollout is token for token what the served model would say.

One rollout with a prompt of three tokens and a completion of two, in a microbatch of width T = 6 and a table of
width L = 3; `state` is where the hidden vector that chose the token sits:

    position        0   1   2   3       4        5
    ids             p   p   p   a    <|end|>  <|pad|>
    state                   ^   ^                        columns 2, 3: they chose a, <|end|>
    table           old_logp[r] = [logp(a), logp(<|end|>), 0]      mask[r] = [1, 1, 0]
    score                           read at position 4
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

import torch
from torch import Tensor

from ziggurat.engine.generate import generate
from ziggurat.engine.params import SamplingParams
from ziggurat.model.accounting import cache_bytes_per_token
from ziggurat.model.padding import by_length, right_pad
from ziggurat.model.transformer import Transformer
from ziggurat.processes import processes
from ziggurat.training.device import moved
from ziggurat.training.parallel import gathered, share

BUSY_TOKENS = 2048
"""Microbatches below this many tokens waste more on overhead than padding costs: `update_s` of metrics.jsonl is 2.33 s
at 384, 2.06 at 1,200 and 1.94 at 2,400 (2 cores, bf16, width 192)."""


CACHE_BYTES, MOST_SLOTS = 1 << 30, 256
"""Completions that are written at a time: as many as have their keys and values in so many bytes."""


@dataclass(frozen=True)
class Rollout:
    """One completion; `completion` holds the end-of-turn token if (and only if) it `ended`."""

    prompt: list[int]
    completion: list[int]
    engine_logp: list[float]
    ended: bool

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


class Where(TypedDict, total=False):
    """Arguments of `Transformer.hidden` for rows that hold several completions, (B, T) each."""

    positions: Tensor
    segments: Tensor


@dataclass(frozen=True)
class Microbatch:
    """Some rollouts of a step, of similar length, right-padded; N actions (completion tokens) in all."""

    ids: Tensor
    """(B, T) prompt and completion."""
    ends: Tensor
    """(B,) position of the last token, where the reward model reads."""
    rows: Tensor
    """(B,) the rollouts' rows in the step's tables."""
    state_row: Tensor
    """(N,) row in `ids` of each action's state."""
    state_column: Tensor
    """(N,) column in `ids` of each action's state: one before the action's own."""
    actions: Tensor
    """(N,) the chosen token ids."""
    table_row: Tensor
    """(N,) row of each action in the step's tables."""
    table_column: Tensor
    """(N,) column of each action in the step's tables: 0 is the first token of the completion."""
    where: Where = field(default_factory=Where)
    """Of `ids`, where a row holds several completions (shared_prompts.py)."""
    spare: bool = False
    """Computed along where other processes have one microbatch more: it counts nothing (`own_share`)."""

    @property
    def weight(self) -> float:
        return 0.0 if self.spare else 1.0

    def states(self, hidden: Tensor) -> Tensor:
        """(B, T, C) -> (N, C): only what chose an action, so that no logits are made for prompts and padding."""
        return hidden[self.state_row, self.state_column]

    def take(self, table: Tensor) -> Tensor:
        """(R, L) -> (N,)."""
        return table[self.table_row, self.table_column]

    def put(self, table: Tensor, values: Tensor) -> None:
        """(N,) into (R, L)."""
        if self.spare:
            return
        table[self.table_row, self.table_column] = values.to(table.dtype)


def roll_out(
    model: Transformer,
    prompts: Sequence[list[int]],
    *,
    max_new_tokens: int,
    temperature: float,
    stop_ids: frozenset[int],
    seed: int,
    n: int = 1,
) -> list[Rollout]:
    """`n` completions of every prompt, in order, from the full (tempered) distribution: top-p 1, top-k off.

    A completion has `max_new_tokens` at most, and no more than its own prompt leaves in the context. Of several
    processes each writes for its share of the prompts, and all get all.
    """
    params = SamplingParams(
        temperature=temperature, seed=seed, max_tokens=max_new_tokens, stop_ids=stop_ids, logprobs=0, n=n
    )
    longest = min(model.config.context, max(map(len, prompts)) + max_new_tokens)
    slots = CACHE_BYTES // (longest * cache_bytes_per_token(model.config, torch.float32))
    mine = share(range(len(prompts)))
    made = generate(
        model.whole(),
        [prompts[i] for i in mine],
        params,
        max_slots=min(MOST_SLOTS, max(1, slots)),
        numbers=mine,
    )
    own = {i: made[at * n : (at + 1) * n] for at, i in enumerate(mine)}
    written = {i: found for part in gathered(own) for i, found in part.items()}
    return [
        Rollout(prompt, list(one.ids), list(one.logprobs), one.finish == "stop")
        for i, prompt in enumerate(prompts)
        for one in written[i]
    ]


def cut_minibatches(
    rollouts: Sequence[Rollout],
    minibatches: int,
    microbatch_tokens: int,
    pad_id: int,
    seed: str,
    device: torch.device,
) -> list[list[Microbatch]]:
    """Rollouts dealt at random into minibatches (optimizer steps), each cut by length into microbatches.

    The cut is made once a step and used for old log-probabilities and for every epoch: the same rows together give
    the same rounding, which is why the first ratio is exactly 1, in bf16 too.
    """
    order = list(range(len(rollouts)))
    random.Random(f"{seed} minibatches").shuffle(order)
    groups = [order[i::minibatches] for i in range(min(minibatches, len(order)))]
    cut = []
    for group in map(sorted, groups):
        chosen = by_length([len(rollouts[row]) for row in group], microbatch_tokens, enough=BUSY_TOKENS)
        cut.append([moved(_microbatch(rollouts, [group[i] for i in one], pad_id), device) for one in chosen])
    return cut


def own_share(minibatch: list[Microbatch]) -> list[Microbatch]:
    """This process's microbatches of one optimizer step, equally many in every process."""
    mine = share(minibatch)
    missing = -(-len(minibatch) // processes()) - len(mine)
    return mine + [replace(minibatch[0], spare=True)] * missing


def _microbatch(rollouts: Sequence[Rollout], rows: list[int], pad_id: int) -> Microbatch:
    chosen = [rollouts[r] for r in rows]
    ids, lengths = right_pad([one.prompt + one.completion for one in chosen], pad_id)
    state_row: list[int] = []
    state_column: list[int] = []
    table_row: list[int] = []
    table_column: list[int] = []
    for i, (row, one) in enumerate(zip(rows, chosen, strict=True)):
        length = len(one.completion)
        state_row += [i] * length
        state_column += range(len(one.prompt) - 1, len(one.prompt) - 1 + length)
        table_row += [row] * length
        table_column += range(length)
    at_row, at_column = torch.tensor(state_row), torch.tensor(state_column)
    return Microbatch(
        ids=ids,
        ends=lengths - 1,
        rows=torch.tensor(rows),
        state_row=at_row,
        state_column=at_column,
        actions=ids[at_row, at_column + 1],
        table_row=torch.tensor(table_row),
        table_column=torch.tensor(table_column),
    )


class PromptOrder:
    """Which prompts a step rolls out: shuffled passes over all of them, a pure function of (seed, step)."""

    def __init__(self, count: int, per_step: int, seed: int) -> None:
        self.count, self.per_step, self.seed = count, per_step, seed

    def at(self, step: int) -> list[int]:
        first = step * self.per_step
        return [self._pass(i // self.count)[i % self.count] for i in range(first, first + self.per_step)]

    def _pass(self, number: int) -> list[int]:
        if getattr(self, "_kept", (-1, []))[0] != number:
            order = list(range(self.count))
            random.Random(f"{self.seed} prompts {number}").shuffle(order)
            self._kept: tuple[int, list[int]] = (number, order)
        return self._kept[1]
