"""The key/value cache: one contiguous arena per layer, one slot per sequence, each slot filled from the left.

    slot 0   the cat sat .  .  .        lengths  3    "." is unused room: finite, but masked out
    slot 1   once upon a time  .                 4    slots 0..B-1 run
    slot 2   hi .  .  .  .  .                    1
    slot 3   the cat sat .  .  .                      the last slots are parked: prefixes kept for later requests

Running sequences always fill slots 0..B-1, so that a decoding step reads one slice of the arena and never gathers.
Unused room starts as zeros and holds only finite leftovers afterwards: a masked NaN would still poison a softmax.

Where a model has virtual tokens (`model.prefix`), their keys and values stand at the front of every slot in use;
lengths and positions count real tokens alone, and the arena adds the m of the front.

A slot takes address space for a whole context, but memory only for what was written, and `release` gives it back. The
model meets the arena through views (views.py). `pages.py` has another arena, which keeps the same tokens in pages.

Legend: n slots, T time, m virtual tokens, K key/value heads, D head width.
"""

from __future__ import annotations

import contextlib
import math
import mmap

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ziggurat.model.config import ModelConfig
from ziggurat.model.prefix import Front

WHOLE_TOKENS = 1024
"""Tokens, padding included, in one batch of whole prompts: larger ones gain nothing on a CPU and need more memory."""
RELEASE_BYTES = 1 << 20
"""A slot of one layer that is smaller than this is not worth a call to give it back."""


Numbers = npt.NDArray[np.int64]


def windows_of(config: ModelConfig) -> list[int | None]:
    """For each layer the keys that a token attends to, itself included; None: all. What is older stays in the arena."""
    return [config.window_of(layer) for layer in range(config.layers)]


class Arena:
    """Keys and values of `slots` sequences of up to `capacity` tokens, each (layers, slots, K, m + capacity, D)."""

    contiguous = True  # a slot's tokens lie together in `k` and `v`

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        front: Front | None = None,
    ) -> None:
        self.set_front(front or [], slots)
        shape = (config.layers, slots, config.kv_heads, self.front + capacity, config.d_head)
        self.slots, self.capacity, self.device, self.dtype = slots, capacity, device, dtype
        self.windows = windows_of(config)
        self.narrowest = min((w for w in self.windows if w is not None), default=capacity + 1)
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

    # --- virtual tokens -----------------------------------------------------------------------------------------

    def set_front(self, front: Front, slots: int) -> None:
        """Have these keys and values before every sequence from its next step on."""
        self._front = front
        self.front = front[0][0].shape[2] if front else 0  # m
        self._fronted = np.full(slots, not front)  # which slots have it

    def _put_front(self, slots: Numbers) -> None:
        """Into those of `slots` that lack it."""
        if not self.front:
            return
        for slot in slots[~self._fronted[slots]].tolist():
            self._fronted[slot] = True
            for layer, (k, v) in enumerate(self._front):
                self.write_span(layer, slice(slot, slot + 1), -self.front, k, v)

    def with_front(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k and v (B, K, T, D) behind the front's, (B, K, m + T, D)."""
        if not self.front:
            return k, v
        fk, fv = (each.expand(len(k), -1, -1, -1) for each in self._front[layer])
        return torch.cat((fk, k), 2), torch.cat((fv, v), 2)

    # --- what views do ------------------------------------------------------------------------------------------

    def hold(self, slots: Numbers, tokens: Numbers) -> None:  # noqa: ARG002
        """Room for `tokens[i]` tokens in slot `slots[i]`, which has it always here."""
        self._put_front(slots)

    def write(self, layer: int, slots: Tensor, positions: Tensor, k: Tensor, v: Tensor) -> None:
        """One token each: k and v (N, K, D) to `positions` (N,) of `slots` (N,)."""
        self.k[layer][slots, :, positions + self.front] = k
        self.v[layer][slots, :, positions + self.front] = v

    def write_span(self, layer: int, slots: Tensor | slice, start: int, k: Tensor, v: Tensor) -> None:
        """k and v (n, K, T, D) to positions start..start+T-1 of n slots; the front's begin at -m."""
        start += self.front
        stop = start + k.shape[2]
        self.k[layer][slots, :, start:stop] = k
        self.v[layer][slots, :, start:stop] = v

    def read(self, layer: int, slots: slice, window: int) -> tuple[Tensor, Tensor]:
        """Keys and values (n, K, m + window, D) of n slots."""
        window += self.front
        return self.k[layer, slots, :, :window], self.v[layer, slots, :, :window]

    # --- what the engine does with whole slots ------------------------------------------------------------------

    def move(self, source: Numbers, target: Numbers, tokens: int) -> None:
        """Copy the first `tokens` positions of slots `source` over slots `target`."""
        taken, put = (torch.from_numpy(slots).to(self.device) for slots in (source, target))
        for layer in range(self.k.shape[0]):
            for store in (self.k[layer], self.v[layer]):
                store[put, :, : self.front + tokens] = store[taken, :, : self.front + tokens]
        self._fronted[target] = self._fronted[source]

    def share(self, source: int, target: int, start: int, stop: int) -> None:
        """Copy positions start..stop-1 of one slot to the same positions of another."""
        start, stop = start + self.front, stop + self.front
        if source != target:
            self.k[:, target, :, start:stop] = self.k[:, source, :, start:stop]
            self.v[:, target, :, start:stop] = self.v[:, source, :, start:stop]

    def release(self, slot: int) -> None:
        """Give the slot's memory back to the system, where slots are large; it reads as zeros then."""
        self._fronted[slot] = not self.front
        for memory in self._maps:
            for layer in range(self.k.shape[0]):
                offset = (layer * self.slots + slot) * self.slot_bytes
                memory.madvise(mmap.MADV_DONTNEED, offset, self.slot_bytes)

    def clear(self) -> None:
        """Forget everything, non-finite leftovers included."""
        self._fronted[:] = not self.front
        for memory in self._maps:
            memory.madvise(mmap.MADV_DONTNEED)  # zeros again, and no page of them touched
        if not self._maps:
            self.k.zero_()
            self.v.zero_()
