"""Admission: which requests wait, get a slot, or lose it again, because the cache holds a fixed number of tokens."""

from __future__ import annotations

from itertools import islice

import numpy as np

from ziggurat.engine.cache import Arena
from ziggurat.engine.line import Line
from ziggurat.engine.prefixes import ParkingLot
from ziggurat.engine.rows import LiveSequence, Rows


class Admission:
    """The queue before the slots. Cache salts (a server has one for each key) take turns; within one salt the order is
    first in, first out. A preempted sequence goes to the front."""

    def __init__(
        self, rows: Rows, lot: ParkingLot, arena: Arena, *, cache_tokens: int, together: int, replay: bool
    ) -> None:
        """`cache_tokens`: in the cache at most. `together`: wait until so many slots are free, unless nothing runs.

        `replay`: a sequence that was sent back has its tokens decoded again rather than prefilled.
        """
        self.rows, self.lot, self.arena = rows, lot, arena
        self.cache_tokens, self.together, self.replay = cache_tokens, together, replay
        self.waiting: Line[LiveSequence] = Line()
        self.preempted = 0  # times that a sequence was sent back
        self.filled = 0  # tokens in the cache when the last step began; may be read on any thread
        self._serial = 0

    @property
    def used_tokens(self) -> int:
        """Tokens in the cache, or soon (a prompt that is being prefilled), those of parked sequences included."""
        alive = [row for row, sequence in enumerate(self.rows.sequences) if sequence is not None]
        held = np.maximum(self.rows.length, self.rows.target)[alive]
        return int(held.sum()) + self.lot.tokens

    def make_room(self) -> None:
        """Before the cache is over its bound, parked sequences are dropped, then the youngest running one."""
        while (filled := self.used_tokens) + self.rows.alive > self.cache_tokens:
            if self.lot.drop_oldest():
                continue
            alive = [
                (sequence.serial, row)
                for row, sequence in enumerate(self.rows.sequences)
                if sequence is not None
            ]
            if len(alive) < 2:
                break
            self.waiting.appendleft(self.rows.preempt(max(alive)[1]))
            self.preempted += 1
        self.filled = filled

    def admit(self, weight_version: int) -> None:
        """Waiting requests take the holes first, then the slots after the last; holes left over are closed."""
        rows = self.rows
        holes = rows.holes()
        for slot in holes:
            self.arena.release(slot)
        free = len(rows.count) - len(rows) + len(holes)
        if self.waiting and (free >= self.together or free == len(rows.count)):
            slots = (holes + list(range(len(rows), len(rows.count))))[: self._fitting(free)]
            for slot in slots:
                sequence = self.waiting.popleft()
                sequence.serial, self._serial = self._serial, self._serial + 1
                rows.fill(slot, sequence, replay=self.replay)
                rows.version[slot] = weight_version
            holes = holes[len(slots) :]
        if holes:
            source, target = rows.close_holes()
            if len(source):
                self.arena.move(source, target, int(rows.length[target].max()))
                for slot in source.tolist():
                    self.arena.release(slot)

    def _fitting(self, free: int) -> int:
        """How many waiting sequences fit into the cache if parked ones are dropped."""
        room = self.cache_tokens - self.used_tokens - self.rows.alive
        fitting = 0
        for sequence in islice(self.waiting, free):
            need = len(sequence.prompt) + len(sequence.made.ids) + 1
            while need > room and self.lot.parked:
                before = self.lot.tokens
                self.lot.drop_oldest()
                room += before - self.lot.tokens
            if need > room and (fitting or self.rows.alive):
                break
            room -= need
            fitting += 1
        return fitting
