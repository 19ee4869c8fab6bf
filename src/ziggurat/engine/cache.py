"""The key/value cache: one contiguous arena per layer, one slot per sequence, each slot filled from the left.

    slot 0   the cat sat .  .  .        lengths  3    "." is unused room: finite, but masked out
    slot 1   once upon a time  .                 4    slots 0..B-1 run
    slot 2   hi .  .  .  .  .                    1
    slot 3   the cat sat .  .  .                      the last slots are parked: prefixes kept for later requests

Running sequences always fill slots 0..B-1, so that a decoding step reads one slice of the arena and never gathers.
Unused room starts as zeros and holds only finite leftovers afterwards: a masked NaN would still poison a softmax.

The model meets the arena through three views, each with its `attend(layer, q, k, v)`: `Prefill` (new sequences from
their first token), `Extend` (one sequence goes on by many tokens: a chunk of a long prompt, or what follows a shared
prefix) and `Decode` (one new token of every running sequence). Left out: pages; a slot takes address space for a whole
context, but memory only for what was written, and `release` gives it back.

Legend: B batch, T time, H query heads, K key/value heads, D head width, G = H / K query heads that share a key head.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.transformer import Slots

PLAIN_KEYS = 192
"""Keys up to which a decoding step's attention is two plain products."""
PLAIN_SCORES = 1 << 20
"""Scores of a head up to which a chunk's attention is two plain products: 2 MiB of bf16."""
RELEASE_BYTES = 1 << 20
"""A slot of one layer that is smaller than this is not worth a call to give it back."""


class Arena:
    """Keys and values of `slots` sequences of up to `capacity` tokens, each (layers, slots, K, capacity, D)."""

    def __init__(
        self, config: ModelConfig, slots: int, capacity: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (config.layers, slots, config.kv_heads, capacity, config.d_head)
        self.slots, self.capacity, self.device = slots, capacity, device
        self.slot_bytes = math.prod(shape[2:]) * dtype.itemsize  # keys of one layer
        self._maps: list[mmap.mmap] = []
        self.k, self.v = self._zeros(shape, dtype), self._zeros(shape, dtype)

    def _zeros(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Zeros cost nothing until a page is written; large slots lie in maps of their own, to be given back."""
        returnable = self.slot_bytes >= RELEASE_BYTES and self.slot_bytes % mmap.PAGESIZE == 0
        if self.device.type != "cpu" or not returnable or not hasattr(mmap, "MADV_DONTNEED"):
            return torch.zeros(shape, dtype=dtype, device=self.device)
        # Private: from shared memory, which is Python's default, the system takes nothing back.
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        memory = mmap.mmap(-1, math.prod(shape) * dtype.itemsize, flags=private)
        with contextlib.suppress(OSError):  # a kernel without huge pages refuses
            memory.madvise(mmap.MADV_NOHUGEPAGE)  # a sequence fills little of its slot
        self._maps.append(memory)
        return torch.frombuffer(memory, dtype=dtype).view(shape)

    def prefill(self, slots: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Prefill:
        """A view that writes row `rows[i]` of the batch into slot `slots[i]`, from position 0."""
        return Prefill(self, torch.from_numpy(slots).to(self.device), torch.from_numpy(rows).to(self.device))

    def extend(self, slot: int, start: int, tokens: int) -> Extend:
        """A view for `tokens` more tokens in `slot`, which holds `start` of them."""
        return Extend(self, slot, start, tokens)

    def decode(self, lengths: npt.NDArray[np.int64], window: int | None = None) -> Decode:
        """A view for one new token in each of the slots 0..B-1, which hold `lengths` (B,) tokens.

        `window`: keys to look at, masked beyond a row's own; by default as many as the longest row has.
        """
        return Decode(self, lengths, window or int(lengths.max(initial=0)) + 1)

    def move(self, source: npt.NDArray[np.int64], target: npt.NDArray[np.int64], tokens: int) -> None:
        """Copy the first `tokens` positions of slots `source` over slots `target`."""
        self.copy(torch.from_numpy(source).to(self.device), torch.from_numpy(target).to(self.device), tokens)

    def copy(self, source: Tensor, target: Tensor, tokens: int) -> None:
        for layer in range(self.k.shape[0]):
            for store in (self.k[layer], self.v[layer]):
                store[target, :, :tokens] = store[source, :, :tokens]

    def share(self, source: int, target: int, start: int, stop: int) -> None:
        """Copy positions start..stop-1 of one slot to the same positions of another."""
        if source != target:
            self.k[:, target, :, start:stop] = self.k[:, source, :, start:stop]
            self.v[:, target, :, start:stop] = self.v[:, source, :, start:stop]

    def release(self, slot: int) -> None:
        """Give the slot's memory back to the system, where slots are large; it reads as zeros then."""
        for memory in self._maps:
            for layer in range(self.k.shape[0]):
                offset = (layer * self.slots + slot) * self.slot_bytes
                memory.madvise(mmap.MADV_DONTNEED, offset, self.slot_bytes)

    def clear(self) -> None:
        """Forget everything, non-finite leftovers included."""
        for memory in self._maps:
            memory.madvise(mmap.MADV_DONTNEED)  # zeros again, and no page of them touched
        if not self._maps:
            self.k.zero_()
            self.v.zero_()


class View:
    """What a model sees of the arena: `attend` in each view's own way."""

    def one_more(self, _layer: int) -> Slots | None:
        return None


class Prefill(View):
    """New sequences, padded on the right: a causal model never sees the padding, and decoding overwrites it."""

    def __init__(self, arena: Arena, slots: Tensor, rows: Tensor) -> None:
        self.arena, self.slots, self.rows = arena, slots, rows

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, T, D), k and v (B, K, T, D) -> (B, H, T, D)."""
        T = k.shape[2]
        self.arena.k[layer][self.slots, :, :T] = k[self.rows]
        self.arena.v[layer][self.slots, :, :T] = v[self.rows]
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])


class Extend(View):
    """Many tokens more of one sequence: each sees what its slot holds and the new ones before it."""

    def __init__(self, arena: Arena, slot: int, start: int, tokens: int) -> None:
        self.arena, self.slot, self.start, self.stop = arena, slot, start, start + tokens
        mask = torch.full((tokens, self.stop), float("-inf"), dtype=arena.k.dtype, device=arena.device)
        self.mask = mask.triu_(start + 1)  # (T, start + T), added to the scores

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (1, H, T, D), k and v (1, K, T, D) -> (1, H, T, D)."""
        keys, values = self.arena.k[layer, self.slot], self.arena.v[layer, self.slot]  # (K, capacity, D)
        keys[:, self.start : self.stop], values[:, self.start : self.stop] = k[0], v[0]
        keys, values = keys[None, :, : self.stop], values[None, :, : self.stop]
        if q.is_cpu and q.dtype == torch.bfloat16 and self.mask.numel() <= PLAIN_SCORES:
            return self._attend_plain(q, keys[0], values[0])
        grouped = q.shape[1] != k.shape[1]
        return F.scaled_dot_product_attention(q, keys, values, attn_mask=self.mask, enable_gqa=grouped)

    def _attend_plain(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """q (1, H, T, D), keys and values (K, S, D) -> (1, H, T, D).

        Milliseconds of 100 tokens after 500, 1,900 and 3,900 others, 12 heads of 64, 2 cores (at 400 GFLOP/s they would
        take 0.5, 1.5 and 3.1): the fused kernel 1.8, 6.2 and 14.1, plain products 1.2, 5.0 and 8.6.
        """
        K, S, D = keys.shape
        scores = torch.matmul((q * D**-0.5).reshape(K, -1, D), keys.transpose(1, 2))  # (K, G * T, S)
        weights = (scores.view(K, -1, *self.mask.shape) + self.mask).softmax(-1)  # (K, G, T, S)
        return torch.matmul(weights.view(K, -1, S), values).view(q.shape)


class Decode(View):
    """One token more for every running sequence."""

    def __init__(self, arena: Arena, lengths: npt.NDArray[np.int64], window: int) -> None:
        self.arena, self.window, self.held = arena, window, lengths

    @functools.cached_property
    def lengths(self) -> Tensor:
        return torch.from_numpy(self.held).to(self.arena.device)  # (B,)

    @functools.cached_property
    def slots(self) -> Tensor:
        return torch.arange(len(self.held), device=self.arena.device)

    @functools.cached_property
    def mask(self) -> Tensor:
        """(B, 1, 1, T), the new token included, added to the scores."""
        within = torch.arange(self.window, device=self.arena.device) <= self.lengths[:, None]  # (B, T)
        mask = torch.zeros(within.shape, dtype=self.arena.k.dtype, device=self.arena.device)
        return mask.masked_fill_(~within, float("-inf"))[:, None, None]

    def one_more(self, layer: int) -> Slots | None:
        return self.arena.k[layer], self.arena.v[layer], self.held

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q (B, H, 1, D), k and v (B, K, 1, D) -> (B, H, 1, D)."""
        B, H, _, D = q.shape
        keys, values = self.arena.k[layer], self.arena.v[layer]  # (slots, K, capacity, D)
        keys[self.slots, :, self.lengths] = k.squeeze(2)
        values[self.slots, :, self.lengths] = v.squeeze(2)
        keys, values = keys[:B, :, : self.window], values[:B, :, : self.window]  # (B, K, T, D)
        if (
            q.dtype == torch.float32
        ):  # queries of one key head as its rows: 1.3 against 1.7 ms for 256 x 2 x 100 x 64
            grouped = q.reshape(B, k.shape[1], H // k.shape[1], D)  # (B, K, G, D)
            return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=self.mask).reshape(
                B, H, 1, D
            )
        if q.is_cpu:
            return self._attend_bf16(q.reshape(B, k.shape[1], -1, D), keys, values).reshape(B, H, 1, D)
        return F.scaled_dot_product_attention(
            q, keys, values, attn_mask=self.mask, enable_gqa=k.shape[1] != H
        )

    def _attend_bf16(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """q (B, K, G, D), keys and values (B, K, T, D) -> (B, K, G, D), on a CPU.

        Microseconds on two cores, 12 heads of 64, G = 1, 16 sequences of 128 and of 512 keys (30 GB/s would take 210
        and 840): the fused kernel with one query 2,400 and 6,400; with the query twice 1,400 and 3,400, since only then
        it multiplies matrices; plain products 1,200 and 5,100, since they copy keys that do not lie together.
        """
        if self.window <= PLAIN_KEYS:
            scores = torch.matmul(q * q.shape[-1] ** -0.5, keys.transpose(2, 3)) + self.mask  # (B, K, G, T)
            return torch.matmul(scores.softmax(-1), values)
        G = q.shape[2]
        twice = q.expand(-1, -1, 2, -1) if G == 1 else q
        return F.scaled_dot_product_attention(twice, keys, values, attn_mask=self.mask)[:, :, :G]
