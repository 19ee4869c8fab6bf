"""The cache in pages: tokens of a sequence lie in blocks of fixed size, wherever one was free.

    table    slot 0   [3][1][7]          a page holds P tokens; slots 0 and 2 begin alike: page 3 is held by both
             slot 1   [5]
             slot 2   [3][2]             the last page of a shared prefix is copied, since both go on writing in it

A slot takes memory for the pages that it holds and no more, prefixes are shared without a copy, and a sequence that
moves to another slot takes its pages along. Reading gathers a sequence's pages into one piece, which costs a copy: a
GPU has the bandwidth for that and lacks the memory for whole slots; on a CPU the contiguous arena is faster.

A page that several slots hold is full, and full pages are never written. Page 0 belongs to no slot: table
entries without a page point there, and what is read from it is masked. Source: vLLM's PagedAttention (Kwon et al.,
arXiv:2309.06180).

Legend: P tokens of a page, n slots, T time, K key/value heads, D head width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ziggurat.engine.cache import WHOLE_TOKENS, Arena, Numbers, windows_of
from ziggurat.model.config import ModelConfig
from ziggurat.model.prefix import Front

PAGE_TOKENS = 32
"""Tokens of a page on a GPU."""


class PagedArena(Arena):
    """Keys and values of `slots` sequences of up to `capacity` tokens, in `pages` pages: (layers, pages, P, K, D)."""

    contiguous = False

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        page_tokens: int,
        pages: int,
        front: Front | None = None,
    ) -> None:
        self.set_front(front or [], slots)
        self.slots, self.capacity, self.dtype, self.device = slots, capacity, dtype, device
        self.page_tokens, self.windows = page_tokens, windows_of(config)
        shape = (config.layers, pages + 1, page_tokens, config.kv_heads, config.d_head)
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self._free = list(range(pages, 0, -1))
        self._holders = np.zeros(pages + 1, dtype=np.int64)  # slots that hold each page
        self._table = np.zeros((slots, -(-(self.front + capacity) // page_tokens)), dtype=np.int64)
        self._count = np.zeros(slots, dtype=np.int64)  # pages of each slot
        self._on_device: Tensor | None = None  # the table as it was when it was last read

    @property
    def free_pages(self) -> int:
        return len(self._free)

    def pages_of(self, slot: int) -> list[int]:
        """The pages that a slot holds, in the order of its tokens."""
        held: list[int] = self._table[slot, : self._count[slot]].tolist()
        return held

    # --- pages --------------------------------------------------------------------------------------------------

    def hold(self, slots: Numbers, tokens: Numbers) -> None:
        """Give slot `slots[i]` the pages of exactly `tokens[i]` tokens: missing ones are taken, others let go."""
        needed = -(-(self.front + tokens) // self.page_tokens)
        for slot, count in zip(
            slots[needed != self._count[slots]], needed[needed != self._count[slots]], strict=True
        ):
            while self._count[slot] > count:
                self._drop_last(slot)
            while self._count[slot] < count:
                self._append(slot, self._free.pop())
        self._put_front(slots)

    def _append(self, slot: int, page: int) -> None:
        self._table[slot, self._count[slot]] = page
        self._count[slot] += 1
        self._holders[page] += 1
        self._on_device = None

    def _drop_last(self, slot: int) -> None:
        self._count[slot] -= 1
        page = int(self._table[slot, self._count[slot]])
        self._table[slot, self._count[slot]] = 0
        self._holders[page] -= 1
        if not self._holders[page]:
            self._free.append(page)
        self._on_device = None

    @property
    def table(self) -> Tensor:
        """(slots, pages of a slot) on the device."""
        if self._on_device is None:
            self._on_device = torch.from_numpy(self._table.copy()).to(self.device)
        return self._on_device

    # --- what views do ------------------------------------------------------------------------------------------

    def write(self, layer: int, slots: Tensor, positions: Tensor, k: Tensor, v: Tensor) -> None:
        positions = positions + self.front
        pages, places = self.table[slots, positions // self.page_tokens], positions % self.page_tokens
        self.k[layer][pages, places] = k
        self.v[layer][pages, places] = v

    def write_span(self, layer: int, slots: Tensor | slice, start: int, k: Tensor, v: Tensor) -> None:
        positions = torch.arange(start, start + k.shape[2], device=self.device) + self.front
        pages, places = (
            self.table[slots][:, positions // self.page_tokens],
            positions % self.page_tokens,
        )  # (n, T), (T)
        self.k[layer][pages, places] = k.transpose(1, 2)
        self.v[layer][pages, places] = v.transpose(1, 2)

    def read(self, layer: int, slots: slice, window: int) -> tuple[Tensor, Tensor]:
        window += self.front
        pages = self.table[slots, : -(-window // self.page_tokens)]
        return self._gather(self.k[layer], pages, window), self._gather(self.v[layer], pages, window)

    @staticmethod
    def _gather(store: Tensor, pages: Tensor, window: int) -> Tensor:
        """Pages (n, pages of a slot) of (pages, P, K, D) -> (n, K, window, D)."""
        return store[pages].flatten(1, 2)[:, :window].transpose(1, 2)

    # --- what the engine does with whole slots ------------------------------------------------------------------

    def move(self, source: Numbers, target: Numbers, tokens: int) -> None:  # noqa: ARG002
        """Slots `target` take over what slots `source` hold."""
        for old, new in zip(source.tolist(), target.tolist(), strict=True):
            self.release(new)
            self._table[[old, new]], self._count[[old, new]] = (
                self._table[[new, old]],
                self._count[[new, old]],
            )
            self._fronted[new], self._fronted[old] = self._fronted[old], not self.front
        self._on_device = None

    def share(self, source: int, target: int, start: int, stop: int) -> None:
        """Let `target`, which has the same first `start` tokens, have the first `stop` of `source`."""
        if source == target:
            return
        start, stop = min(start + self.front, int(self._count[target]) * self.page_tokens), stop + self.front
        first, whole, rest = start // self.page_tokens, stop // self.page_tokens, stop % self.page_tokens
        while self._count[target] > first:
            self._drop_last(target)
        for place in range(first, whole):
            self._append(target, int(self._table[source, place]))
        if rest:
            page, copied = self._free.pop(), int(self._table[source, whole])
            self._append(target, page)
            self.k[:, page, :rest], self.v[:, page, :rest] = (
                self.k[:, copied, :rest],
                self.v[:, copied, :rest],
            )
        self._fronted[target] = self._fronted[source]

    def release(self, slot: int) -> None:
        """Let go of every page of the slot."""
        self._fronted[slot] = not self.front
        while self._count[slot]:
            self._drop_last(slot)

    def clear(self) -> None:
        for slot in range(self.slots):
            self.release(slot)
        self.k.zero_()
        self.v.zero_()


def make_arena(
    config: ModelConfig,
    slots: int,
    capacity: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    cache_tokens: int,
    page_tokens: int | None = None,
    front: Front | None = None,
) -> Arena:
    """For `slots` sequences of up to `capacity` tokens, `cache_tokens` together; in pages of `page_tokens` tokens.

    0: not in pages. None: in pages on a GPU only. `front`: keys and values before every sequence.
    """
    if page_tokens is None:
        page_tokens = PAGE_TOKENS if device.type == "cuda" else 0
    if not page_tokens:
        return Arena(config, slots, capacity, dtype, device, front)
    # Beyond the tokens themselves: a page of each slot is not full, one is being filled, prefill pads.
    pages = -(-(cache_tokens + WHOLE_TOKENS) // page_tokens) + 2 * slots
    if front:
        pages += slots * -(-front[0][0].shape[2] // page_tokens)
    return PagedArena(
        config, slots, capacity, dtype, device, page_tokens=page_tokens, pages=pages, front=front
    )
