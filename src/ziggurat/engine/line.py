"""A queue in which owners take turns, so that many items of one owner do not delay the others.

    arrived    a1 a2 a3 a4 b1 c1 b2
    served     a1 b1 c1 a2 b2 a3 a4

Among the items of one owner the first comes first, so with a single owner it is a plain queue. It counts items, not
what they cost. Not thread-safe, but its length may be read on any thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Line(Generic[T]):
    """Iterating gives the items in the order in which `popleft` would if nothing were added."""

    def __init__(self) -> None:
        self._front: deque[T] = deque()  # had their turn and were sent back
        self._own: dict[str, deque[T]] = {}  # by owner, in the order of their turns; none is empty
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        yield from self._front
        turns = [iter(own) for own in self._own.values()]
        while turns:
            for turn in list(turns):
                try:
                    yield next(turn)
                except StopIteration:
                    turns.remove(turn)

    def of(self, owner: str) -> list[T]:
        """What one owner has in the line, but for what was sent back."""
        return list(self._own.get(owner, ()))

    def append(self, item: T, owner: str = "") -> None:
        self._own.setdefault(owner, deque()).append(item)
        self._length += 1

    def appendleft(self, item: T) -> None:
        """To the front: it had its turn already."""
        self._front.appendleft(item)
        self._length += 1

    def popleft(self) -> T:
        """Whose turn it is; the owner's next one comes when all others have had theirs."""
        if not self._length:
            raise IndexError("the line is empty")
        self._length -= 1
        if self._front:
            return self._front.popleft()
        owner = next(iter(self._own))
        own = self._own.pop(owner)
        item = own.popleft()
        if own:
            self._own[owner] = own  # at the end of the turns
        return item

    def remove(self, item: T) -> None:
        """Raises ValueError if it is not in the line."""
        if item in self._front:
            self._front.remove(item)
            self._length -= 1
            return
        for owner, own in self._own.items():
            if item in own:
                own.remove(item)
                self._length -= 1
                if not own:
                    del self._own[owner]
                return
        raise ValueError(f"{item!r} is not in the line")

    def clear(self) -> None:
        self._front.clear()
        self._own.clear()
        self._length = 0
