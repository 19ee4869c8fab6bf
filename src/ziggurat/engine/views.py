"""What a model sees of the cache: one view for each way in which sequences grow.

    Prefill   new sequences from their first token, many at once
    Extend    one sequence goes on by many tokens: a chunk of a long prompt, or what follows a shared prefix
    Decode    one new token of every running sequence
    Several   a few new tokens of every running sequence, guessed ahead (speculate.py)

Each has `attend(layer, q, k, v)`: store the new keys and values, attend to all, or to those within the layer's window.
Where they lie is the arena's matter.

Legend: B batch, T time, m virtual tokens at the front, S tokens in the cache, H query heads, K key/value heads, D head
width, G = H / K query heads that share a key head.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.engine.cache import Arena, Numbers
from ziggurat.model.cpu.fast import Slots

PLAIN_KEYS = 192
"""Keys up to which a decoding step's attention is two plain products."""
PLAIN_SCORES = 1 << 20
"""Scores of a head up to which a chunk's attention is two plain products: 2 MiB of bf16."""


def _mask(places: Tensor, keys: Tensor, window: int | None, dtype: torch.dtype) -> Tensor:
    """Tokens at `places` (..., T) and `keys` (S,) -> (..., T, S), added to the scores: 0 where a token attends."""
    last = places.clamp(max=len(keys) - 1)[..., None]  # padding attends to the last key; its output is unused
    seen = keys <= last
    if window is not None:
        seen &= keys > last - window
    return torch.zeros(seen.shape, dtype=dtype, device=keys.device).masked_fill_(~seen, float("-inf"))


class Prefill:
    """New sequences, padded on the right: a causal model never sees the padding, and decoding overwrites it."""

    def __init__(self, arena: Arena, slots: Numbers, tokens: int) -> None:
        """Row i of the batch goes into slot `slots[i]`, from position 0; `tokens` of each, padding included."""
        self.arena = arena
        arena.hold(slots, np.full(len(slots), tokens))
        self.slots = torch.from_numpy(slots).to(arena.device)
        self.tokens = tokens
        self.masks: dict[int | None, Tensor] = {}

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        self.arena.write_span(layer, self.slots, 0, k, v)
        window, grouped = self.arena.windows[layer], q.shape[1] != k.shape[1]
        if (window is None or window >= self.tokens) and not self.arena.front:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        if window not in self.masks:
            keys = torch.arange(self.arena.front + self.tokens, device=self.arena.device)
            self.masks[window] = _mask(keys[self.arena.front :], keys, window, self.arena.dtype)  # (T, m + T)
        k, v = self.arena.with_front(layer, k, v)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.masks[window], enable_gqa=grouped)


class Extend:
    """Many tokens more of one sequence: each sees what its slot holds and the new ones before it."""

    def __init__(self, arena: Arena, slot: int, start: int, tokens: int) -> None:
        """`tokens` more in `slot`, which holds `start` of them."""
        self.arena, self.slots, self.start, self.stop = arena, slice(slot, slot + 1), start, start + tokens
        arena.hold(np.array([slot]), np.array([self.stop]))
        self.masks: dict[int | None, Tensor] = {}

    def mask(self, layer: int) -> Tensor:
        """(T, m + start + T), added to the scores."""
        window, front = self.arena.windows[layer], self.arena.front
        if window not in self.masks:
            keys = torch.arange(front + self.stop, device=self.arena.device)
            self.masks[window] = _mask(keys[front + self.start :], keys, window, self.arena.dtype)
        return self.masks[window]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (1, H, T, D), k and v (1, K, T, D) -> (1, H, T, D)."""
        self.arena.write_span(layer, self.slots, self.start, k, v)
        keys, values = self.arena.read(layer, self.slots, self.stop)  # (1, K, S, D)
        mask = self.mask(layer)
        if q.is_cpu and q.dtype == torch.bfloat16 and mask.numel() <= PLAIN_SCORES:
            return self._attend_plain(q, keys[0], values[0], mask)
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=grouped)

    @staticmethod
    def _attend_plain(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """q (1, H, T, D), keys and values (K, S, D), mask (T, S) -> (1, H, T, D).

        Milliseconds of 100 tokens after 500, 1,900 and 3,900 others, 12 heads of 64, 2 cores (at 400 GFLOP/s they would
        take 0.5, 1.5 and 3.1): the fused kernel 1.8, 6.2 and 14.1, plain products 1.2, 5.0 and 8.6.
        """
        K, S, D = keys.shape
        scores = torch.matmul((q * D**-0.5).reshape(K, -1, D), keys.transpose(1, 2))  # (K, G * T, S)
        weights = (scores.view(K, -1, *mask.shape) + mask).softmax(-1)  # (K, G, T, S)
        return torch.matmul(weights.view(K, -1, S), values).view(q.shape)


class Decode:
    """One token more for every running sequence."""

    def __init__(self, arena: Arena, lengths: Numbers, window: int | None = None) -> None:
        """`lengths` (B,) tokens in the slots 0..B-1. `window`: keys to look at, masked beyond a row's own; by default
        as many as the longest row has."""
        self.arena, self.held = arena, lengths
        self.window = window or int(lengths.max(initial=0)) + 1
        self.masks: dict[int | None, Tensor] = {}
        arena.hold(np.arange(len(lengths)), lengths + 1)

    @functools.cached_property
    def lengths(self) -> Tensor:
        return torch.from_numpy(self.held).to(self.arena.device)  # (B,)

    @functools.cached_property
    def slots(self) -> Tensor:
        return torch.arange(len(self.held), device=self.arena.device)

    def mask(self, layer: int) -> Tensor:
        """(B, 1, 1, m + T), the new token included, added to the scores."""
        window, front = self.arena.windows[layer], self.arena.front
        if window not in self.masks:
            keys = torch.arange(front + self.window, device=self.arena.device)
            self.masks[window] = _mask(self.lengths[:, None, None] + front, keys, window, self.arena.dtype)
        return self.masks[window]

    def slots_of_layer(self, layer: int) -> Slots | None:
        """For `model.cpu.fast`, whose loops attend to all keys: None where a row has more than the layer's window."""
        window, held = self.arena.windows[layer], self.held + self.arena.front
        if not self.arena.contiguous or (window is not None and int(held.max(initial=0)) >= window):
            return None
        return self.arena.k[layer], self.arena.v[layer], held

    def slots_of_layers(self) -> Slots | None:
        """The same for all layers in one call: None where any of them has to look at a part of its keys."""
        held = self.held + self.arena.front
        if not self.arena.contiguous or int(held.max(initial=0)) >= self.arena.narrowest:
            return None
        return self.arena.k, self.arena.v, held

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, 1, D), k and v (B, K, 1, D) -> (B, H, 1, D)."""
        B, H, _, D = q.shape
        self.arena.write(layer, self.slots, self.lengths, k.squeeze(2), v.squeeze(2))
        keys, values = self.arena.read(layer, slice(0, B), self.window)  # (B, K, T, D)
        mask = self.mask(layer)
        if q.dtype == torch.float32:
            # queries of one key head as its rows: 1.3 against 1.7 ms for 256 x 2 x 100 x 64
            grouped = q.reshape(B, k.shape[1], H // k.shape[1], D)  # (B, K, G, D)
            y = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
            return y.reshape(B, H, 1, D)
        if q.is_cpu:
            grouped = q.reshape(B, k.shape[1], -1, D)
            return self._attend_bf16(grouped, keys, values, mask).reshape(B, H, 1, D)
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=k.shape[1] != H)

    def _attend_bf16(self, q: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """q (B, K, G, D), keys and values (B, K, T, D), mask (B, 1, 1, T) -> (B, K, G, D), on a CPU.

        Microseconds on two cores, 12 heads of 64, G = 1, 16 sequences of 128 and of 512 keys (30 GB/s would take 210
        and 840): the fused kernel with one query 2,400 and 6,400; with the query twice 1,400 and 3,400, since only then
        it multiplies matrices; plain products 1,200 and 5,100, since they copy keys that do not lie together.
        """
        if self.window <= PLAIN_KEYS:
            scores = torch.matmul(q * q.shape[-1] ** -0.5, keys.transpose(2, 3)) + mask  # (B, K, G, T)
            return torch.matmul(scores.softmax(-1), values)
        G = q.shape[2]
        twice = q.expand(-1, -1, 2, -1) if G == 1 else q
        return F.scaled_dot_product_attention(twice, keys, values, attn_mask=mask)[:, :, :G]


class Several:
    """Several tokens more for every running sequence, of which each sees those before it."""

    def __init__(self, arena: Arena, lengths: Numbers, stored: npt.NDArray[np.bool_], window: int) -> None:
        """`lengths` (B,) tokens in the slots 0..B-1; `stored` (B, T): which of the new ones are kept behind them."""
        self.arena = arena
        self.window = min(window, arena.capacity)
        arena.hold(np.arange(len(lengths)), np.minimum(lengths + stored.sum(1), arena.capacity))
        slots, columns = np.nonzero(stored)
        self.slots, self.columns, self.places = (
            torch.from_numpy(each).to(arena.device) for each in (slots, columns, lengths[slots] + columns)
        )
        self.last_seen = torch.from_numpy(lengths[:, None] + np.arange(stored.shape[1])).to(
            arena.device
        )  # (B, T)
        self.masks: dict[int | None, Tensor] = {}

    def mask(self, layer: int) -> Tensor:
        """(B, 1, T, m + S), added to the scores."""
        window, front = self.arena.windows[layer], self.arena.front
        if window not in self.masks:
            keys = torch.arange(front + self.window, device=self.arena.device)
            self.masks[window] = _mask(self.last_seen[:, None] + front, keys, window, self.arena.dtype)
        return self.masks[window]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        new_k, new_v = k[self.slots, :, self.columns], v[self.slots, :, self.columns]  # (N, K, D)
        self.arena.write(layer, self.slots, self.places, new_k, new_v)
        keys, values = self.arena.read(layer, slice(0, len(q)), self.window)  # (B, K, S, D)
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=self.mask(layer), enable_gqa=grouped)
