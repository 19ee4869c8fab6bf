"""Prefixes: keys and values that are there already are copied, not computed again.

    a donor              what a new request takes from it
    a running sequence   the prompt they share (n > 1, one system prompt, one document asked about twice)
    a parked one         a conversation up to its last answer, when its next turn comes

A finished sequence is parked in one of the arena's last slots; the one that was used longest ago makes room. Copying a
token's keys and values costs a few microseconds a layer where computing them costs a whole forward pass, so slots stay
contiguous and nothing needs to be counted. Entries are flushed when weights change, and a request sees only entries of
its own salt: the time of an answer says nothing about the prompts of other salts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ziggurat.engine.cache import Arena

WORTH_SHARING = 8
"""Tokens; shorter prefixes are computed again."""

Ids = npt.NDArray[np.int32]


@dataclass(eq=False)
class Parked:
    """A finished sequence whose keys and values lie in `slot`."""

    slot: int
    salt: str
    ids: Ids
    used: int  # when, in the order of uses


def common_prefix(a: Ids, b: Ids) -> int:
    """Tokens that both begin with."""
    n = min(len(a), len(b))
    if n == 0 or a[0] != b[0]:
        return 0
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


class ParkingLot:
    """The arena's last slots, and what lies in them."""

    def __init__(self, arena: Arena, slots: range) -> None:
        self.arena = arena
        self.free = list(slots)
        self.parked: list[Parked] = []
        self.enabled = bool(self.free)
        self.hits = 0  # tokens that were copied instead of computed
        self._clock = 0

    @property
    def tokens(self) -> int:
        return sum(len(entry.ids) for entry in self.parked)

    def longest(self, ids: Ids, salt: str) -> tuple[int, int]:
        """(slot, tokens) of the parked sequence that shares the longest prefix with `ids`; (-1, 0) if none does."""
        best, tokens = None, 0
        for entry in self.parked:
            if entry.salt == salt and (shared := common_prefix(entry.ids, ids)) > tokens:
                best, tokens = entry, shared
        if best is None:
            return -1, 0
        self._clock += 1
        best.used = self._clock
        return best.slot, tokens

    def park(self, slot: int, ids: Sequence[int], salt: str) -> None:
        """Keep what `slot` holds of `ids`; an entry that is its beginning is extended rather than kept beside it."""
        new = np.asarray(ids, dtype=np.int32)
        if len(new) < WORTH_SHARING or not (self.free or self.parked):
            return
        self._clock += 1
        start = 0
        for entry in self.parked:
            shared = common_prefix(entry.ids, new) if entry.salt == salt else 0
            if shared == len(new):  # all of it is parked already
                entry.used = self._clock
                return
            if shared == len(entry.ids):
                start = shared
                break
        else:
            if not self.free:
                self.drop_oldest()
            entry = Parked(self.free.pop(), salt, new, 0)
            self.parked.append(entry)
        self.arena.share(slot, entry.slot, start, len(new))
        entry.ids, entry.used = new, self._clock

    def drop_oldest(self) -> bool:
        """Forget the entry that was used longest ago; False if there is none."""
        if not self.parked:
            return False
        oldest = min(self.parked, key=lambda entry: entry.used)
        self.parked.remove(oldest)
        self.free.append(oldest.slot)
        self.arena.release(oldest.slot)
        return True

    def clear(self) -> None:
        while self.drop_oldest():
            pass
