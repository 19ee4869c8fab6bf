"""Rows of different length as one tensor: which of them share a batch, and the padding on their right.

A causal model does not attend to what follows a token, so padding on the right changes no state of the row itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
