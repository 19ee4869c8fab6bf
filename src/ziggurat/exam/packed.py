"""Runs a tree of pieces (sharing.py) through a model: trunks one after the other, the rows behind each in batches.

Legend: B batch, T time, P tokens of the trunks before a batch, H query heads, K key/value heads, D head width,
G = H / K query heads that share a key head, C model width, V vocabulary, N scored tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ziggurat.engine.cache import windows_of
from ziggurat.evaluation.bits import evaluating
from ziggurat.exam.sharing import Piece, Trunk
from ziggurat.model.layers import causal_attention
from ziggurat.model.padding import by_length
from ziggurat.model.prefix import Front, front_of
from ziggurat.model.transformer import Transformer

BATCH_TOKENS = 2048
"""Tokens of a batch, padding included."""
LOGIT_ROWS = 128
"""Tokens whose logits are made at a time (see `model.cpu.kernels.ROWS`)."""
SCORES = 1 << 21
"""Attention weights of a block, all heads together: what fits into a processor's cache with the keys."""


@dataclass
class Sums:
    """By sequence: the log-probability of its scored tokens in nats, and whether each is the likeliest."""

    nats: np.ndarray
    greedy: np.ndarray


def run(model: Transformer, root: Trunk, sequences: int, batch_tokens: int = BATCH_TOKENS) -> Sums:
    """Score every sequence of `plan`'s tree."""
    sums = Sums(np.zeros(sequences), np.ones(sequences, dtype=bool))
    with evaluating(model):
        front = front_of(model)
        waiting: list[tuple[Trunk, Front]] = [(root, front)]
        while waiting:
            trunk, before = waiting.pop()
            if trunk.piece is not None:
                before = _run_batch(model, [trunk.piece], before, sums, keep=True)
            for chosen in by_length(
                [len(row.ids) for row in trunk.rows], batch_tokens, enough=batch_tokens // 4
            ):
                _run_batch(model, [trunk.rows[i] for i in chosen], before, sums)
            waiting.extend((each, before) for each in trunk.trunks)
    return sums


def _run_batch(
    model: Transformer, pieces: list[Piece], before: Front, sums: Sums, keep: bool = False
) -> Front:
    """Add what these pieces score. `keep`: the keys and values of the only piece, behind those `before` it."""
    device, B, T = model.embedding.weight.device, len(pieces), max(len(piece.ids) for piece in pieces)
    ids, positions = np.zeros((B, T), dtype=np.int64), np.zeros((B, T), dtype=np.int64)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece.ids)], positions[row, : len(piece.ids)] = piece.ids, piece.positions
    where = torch.from_numpy(positions).to(device)
    cache = _Branches(model, before, where, _masks(pieces, T, device), keep=keep)
    hidden = model.hidden(torch.from_numpy(ids).to(device), positions=where, cache=cache)  # (B, T, C)
    flat = np.concatenate([row * T + piece.places for row, piece in enumerate(pieces)])
    targets, owners = (
        np.concatenate(part) for part in zip(*((p.targets, p.owners) for p in pieces), strict=True)
    )
    if len(flat):
        _score(model, hidden.flatten(0, 1), flat, targets, owners, sums)
    return cache.kept


def _masks(pieces: list[Piece], T: int, device: torch.device) -> Tensor | None:
    """(B, T, T): which token attends to which; None: each to all before it."""
    if all(piece.seen is None for piece in pieces):
        return None
    seen = np.tri(T, dtype=bool)[None].repeat(len(pieces), 0)
    for row, piece in enumerate(pieces):
        if piece.seen is not None:
            n = len(piece.ids)
            seen[row, :n, :n] = piece.seen
    return torch.from_numpy(seen).to(device)


def _score(
    model: Transformer,
    hidden: Tensor,
    places: np.ndarray,
    targets: np.ndarray,
    owners: np.ndarray,
    sums: Sums,
) -> None:
    """hidden (B T, C); prediction n is of `targets[n]` by token `places[n]`. One token may predict several."""
    unique, index = np.unique(places, return_inverse=True)
    order = np.argsort(index, kind="stable")
    for start in range(0, len(unique), LOGIT_ROWS):
        own = order[np.searchsorted(index[order], start) : np.searchsorted(index[order], start + LOGIT_ROWS)]
        rows = torch.from_numpy(unique[start : start + LOGIT_ROWS]).to(hidden.device)
        logits = model.logits(hidden[rows])  # (n, V)
        which = torch.from_numpy(index[own] - start).to(hidden.device)
        wanted = torch.from_numpy(targets[own]).to(hidden.device)
        found = logits[which, wanted]
        nats = (found - logits.logsumexp(-1)[which]).double().cpu().numpy()
        likeliest = (logits.argmax(-1)[which] == wanted).cpu().numpy()
        np.add.at(sums.nats, owners[own], nats)
        np.logical_and.at(sums.greedy, owners[own], likeliest)


class _Branches:
    """A `Cache`: rows attend to all of `before`, and among themselves as `seen` says."""

    def __init__(
        self, model: Transformer, before: Front, positions: Tensor, seen: Tensor | None, *, keep: bool
    ) -> None:
        """positions (B, T); seen (B, T, T), None: every token attends to those before it in its row."""
        self.before, self.positions, self.seen, self.keep = before, positions, seen, keep
        self.windows, self.virtual = (
            windows_of(model.config),
            0 if model.prefix is None else model.prefix.tokens,
        )
        self.kept: Front = []
        self.biases: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        if self.keep:
            both = [self.before[layer], (k, v)] if self.before else [(k, v)]
            self.kept.append((torch.cat([k for k, _ in both], 2), torch.cat([v for _, v in both], 2)))
        own, far = self._bias(self.windows[layer], q.dtype)
        if not self.before:
            return causal_attention(q, k, v, own)
        return _attend_both(q, k, v, *self.before[layer], own, far)

    def _bias(self, window: int | None, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        """Added to the scores of a row's own keys, (B or 1, 1, T, T), and of those before it, (B, 1, T, P).

        None: nothing is added; own keys are attended to causally then, where nothing is before them.
        """
        if window not in self.biases:
            self.biases[window] = self._make(window, dtype)
        return self.biases[window]

    def _make(self, window: int | None, dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
        at, device = self.positions, self.positions.device  # (B, T)
        T, P = at.shape[1], self.before[0][0].shape[2] if self.before else 0
        narrow = window is not None and int(at.max()) + self.virtual >= window
        if self.seen is None and not P and not narrow:
            return None, None
        seen = torch.ones(1, T, T, dtype=torch.bool, device=device).tril() if self.seen is None else self.seen
        far = None
        if narrow:
            assert window is not None
            seen = seen & (at[:, :, None] - at[:, None, :] < window)
            keys = torch.arange(P, device=device) - self.virtual
            far = _added(at[:, :, None] - keys < window, dtype)
        return _added(seen, dtype), far


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, T, S) -> (B, 1, T, S): 0 where seen, else minus infinity."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)[:, None]


def _attend_both(
    q: Tensor, k: Tensor, v: Tensor, far_k: Tensor, far_v: Tensor, own: Tensor | None, far: Tensor | None
) -> Tensor:
    """q (B, H, T, D), k and v (B, K, T, D), far_k and far_v (1, K, P, D) -> (B, H, T, D)."""
    assert own is not None
    B, H, T, _ = q.shape
    P = far_k.shape[2]
    keys = torch.cat((far_k.expand(B, -1, -1, -1), k), 2)
    values = torch.cat((far_v.expand(B, -1, -1, -1), v), 2)
    over = own.new_zeros(B, 1, T, P) if far is None else far
    mask = torch.cat((over.expand(B, -1, -1, -1), own.expand(B, -1, -1, -1)), -1)
    return torch.nn.functional.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, enable_gqa=k.shape[1] != H
    )
