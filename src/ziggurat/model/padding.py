"""Rows of different length as one tensor: which of them share a batch, and the padding on their right.

A causal model does not attend to what follows a token, so padding on the right changes no state of the row itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ziggurat.model.transformer import Transformer

WORTH_TOKENS, WORTH_SHARE = 1024, 0.85
"""Rows are packed where that saves so many tokens at least, and leaves at most this share of the padded ones."""


def right_pad(rows: Sequence[Sequence[int] | NDArray[np.int64]], pad_id: int) -> tuple[Tensor, Tensor]:
    """(ids (B, T), filled with `pad_id` after each row; lengths (B,)), both int64."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad_id)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.as_tensor(row)
    return ids, lengths


def by_length(
    lengths: Sequence[int], tokens: int, *, rows: int | None = None, enough: int | None = None
) -> list[list[int]]:
    """Indices in batches, the longest rows first.

    A batch has at most `tokens` tokens, padding included, and at most `rows` rows; a row with more tokens is a batch of
    its own. With `enough`, a batch of so many tokens also ends before a row that would be a quarter padding.
    """
    batches: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        width = lengths[batches[-1][0]] if batches else 0
        area = width * len(batches[-1]) if batches else 0
        sparse = enough is not None and area >= enough and 4 * lengths[i] < 3 * width
        full = bool(batches) and (area + width > tokens or len(batches[-1]) == rows)
        if not batches or sparse or full:
            batches.append([])
        batches[-1].append(i)
    return batches


def padded_batches(
    rows: Sequence[Sequence[int]], tokens: int, pad_id: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Rows of similar length together: (their numbers, ids (B, T), lengths (B,)), at most `tokens` tokens a batch."""
    for chosen in by_length([len(row) for row in rows], tokens):
        ids, lengths = right_pad([rows[i] for i in chosen], pad_id)
        yield chosen, ids.to(device), lengths.to(device)


def first_fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Indices in rows of at most `width` tokens, each in the first row that has room, the longest first.

    >>> first_fit([5, 3, 4, 2], 7)
    [[0, 3], [2, 1]]
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = next((at for at, left in enumerate(room) if lengths[i] <= left), None)
        if at is None:
            at = len(rows)
            rows.append([])
            room.append(width)
        rows[at].append(i)
        room[at] -= lengths[i]
    return rows


def hidden_without_padding(body: Transformer, ids: Tensor, lengths: Tensor) -> Tensor:
    """`body.hidden(ids)` (B, T, C) of right-padded rows, with several rows in one where that saves much.

    Packed rows attend to themselves alone and keep their positions; states of padding are 0 then.
    """
    sizes, (B, T) = lengths.tolist(), ids.shape
    packed = first_fit(sizes, T)
    area, padded = len(packed) * T, B * T
    if padded - area < WORTH_TOKENS or area > WORTH_SHARE * padded:
        return body.hidden(ids)
    shape = (len(packed), T)
    flat = torch.zeros(shape, dtype=torch.int64)  # which token of `ids`, flattened, is where
    segments, positions = torch.full(shape, -1), torch.arange(T).repeat(len(packed), 1)
    to = torch.empty(int(lengths.sum()), dtype=torch.int64)  # where each token of `ids`, row by row, went
    starts = [0, *torch.tensor(sizes).cumsum(0).tolist()]
    for row, members in enumerate(packed):
        at = 0
        for i in members:
            here = slice(at, at + sizes[i])
            flat[row, here] = torch.arange(i * T, i * T + sizes[i])
            segments[row, here], positions[row, here] = i, torch.arange(sizes[i])
            to[starts[i] : starts[i + 1]] = torch.arange(row * T + at, row * T + at + sizes[i])
            at += sizes[i]
    device = ids.device
    hidden = body.hidden(
        ids.flatten()[flat.to(device)], positions=positions.to(device), segments=segments.to(device)
    )
    own = torch.arange(T, device=device) < lengths[:, None].to(device)  # (B, T)
    found = hidden.new_zeros(B, T, hidden.shape[-1])
    found[own] = hidden.flatten(0, 1)[to.to(device)]
    return found
