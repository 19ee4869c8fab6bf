"""Rollouts of one prompt in one row, so that their prompt is computed once: for GRPO, whose groups share theirs.

One group of two completions, a b and c d e, of a prompt of two tokens. A token attends to the prompt and to its own
completion (`model.layers.SHARED`), and has the position that it would have in a row of its own:

    ids          p   p   a   c   d          a completion's last token is left out: nothing follows its state
    positions    0   1   2   2   3
    segments    -2  -2   1   2   2
    states of        ab  b                  column 1 chose a and c, column 2 chose b, 3 chose d, 4 chose e
                     c       d   e

With prompts as long as the completions and eight of those, the networks compute about half of the tokens. Attention in
such a row computes products that the mask then leaves out, so rows are at most LONGEST_ROW tokens long.
Left out: sharing in the engine, whose rollouts share the prompt's keys and values already; windowed attention, which
counts places of the row.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch

from ziggurat.model.config import ModelConfig
from ziggurat.model.layers import SHARED
from ziggurat.model.padding import by_length, right_pad
from ziggurat.stages.rollouts import BUSY_TOKENS, Microbatch, Rollout
from ziggurat.training.device import moved

LONGEST_ROW = 1024
WORTH_SHARE = 0.85
"""Prompts are shared where that leaves at most this share of the tokens."""


def worth_sharing(rollouts: Sequence[Rollout], group: int, shape: ModelConfig) -> bool:
    """Whether rows of whole groups save enough, for a model of this shape; a function of the lengths alone."""
    together = [_row_tokens(rollouts[i : i + group]) for i in range(0, len(rollouts), group)]
    return _saves(max(together), sum(together), sum(map(len, rollouts)), shape)


def expected_row(prompt: int, completion: int, group: int, shape: ModelConfig) -> int | None:
    """Tokens of a group's row where its completions have this length; None where prompts are not shared then."""
    row = prompt + group * (completion - 1)
    return row if _saves(row, row, group * (prompt + completion), shape) else None


def _saves(longest: int, together: int, apart: int, shape: ModelConfig) -> bool:
    return not shape.windowed and longest <= LONGEST_ROW and together <= WORTH_SHARE * apart


def cut_groups(
    rollouts: Sequence[Rollout],
    group: int,
    minibatches: int,
    microbatch_tokens: int,
    pad_id: int,
    seed: str,
    device: torch.device,
) -> list[list[Microbatch]]:
    """As `rollouts.cut_minibatches`, with a group in each row: groups are dealt, not single rollouts."""
    order = list(range(len(rollouts) // group))
    random.Random(f"{seed} minibatches").shuffle(order)
    lengths = [_row_tokens(rollouts[i * group : (i + 1) * group]) for i in range(len(order))]
    cut = []
    for dealt in (sorted(order[i::minibatches]) for i in range(min(minibatches, len(order)))):
        chosen = by_length([lengths[i] for i in dealt], microbatch_tokens, enough=BUSY_TOKENS)
        rows = [[range(dealt[i] * group, (dealt[i] + 1) * group) for i in one] for one in chosen]
        cut.append([moved(_microbatch(rollouts, one, pad_id), device) for one in rows])
    return cut


def _row_tokens(group: Sequence[Rollout]) -> int:
    return len(group[0].prompt) + sum(len(one.completion) - 1 for one in group)


def _microbatch(rollouts: Sequence[Rollout], groups: Sequence[range], pad_id: int) -> Microbatch:
    ids, positions, segments = [], [], []
    state_row: list[int] = []
    state_column: list[int] = []
    table_row: list[int] = []
    table_column: list[int] = []
    actions: list[int] = []
    for b, group in enumerate(groups):
        prompt = rollouts[group[0]].prompt
        row, place, segment = list(prompt), list(range(len(prompt))), [SHARED] * len(prompt)
        for number, r in enumerate(group, start=1):
            said = rollouts[r].completion
            state_row += [b] * len(said)
            state_column += [len(prompt) - 1, *range(len(row), len(row) + len(said) - 1)]
            table_row += [r] * len(said)
            table_column += range(len(said))
            actions += said
            row += said[:-1]
            place += range(len(prompt), len(prompt) + len(said) - 1)
            segment += [number] * (len(said) - 1)
        ids.append(row)
        positions.append(place)
        segments.append(segment)
    padded, lengths = right_pad(ids, pad_id)
    return Microbatch(
        ids=padded,
        ends=lengths - 1,
        rows=torch.tensor([r for group in groups for r in group]),
        state_row=torch.tensor(state_row),
        state_column=torch.tensor(state_column),
        actions=torch.tensor(actions),
        table_row=torch.tensor(table_row),
        table_column=torch.tensor(table_column),
        where={"positions": right_pad(positions, 0)[0], "segments": right_pad(segments, -1)[0]},
    )
