"""Which tokens of many sequences are computed once: sequences that begin alike become a tree, cut into pieces.

Four questions after the same examples, two choices each (a letter is a run of tokens):

    EEEEEE Q1 a          root
    EEEEEE Q1 b           └── trunk EEEEEE          keys and values are computed once and kept
    EEEEEE Q2 a                ├── row Q1 a b       one row of a batch: b attends to E and Q1, not to a
    EEEEEE Q2 b                └── row Q2 a b

A trunk costs a forward pass of its own, so it must save `WORTH_TRUNK` tokens. A row that branches has a mask and its
tokens attend to more keys than they need, so it must save `WORTH_BRANCHES` of its tokens.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ziggurat.engine.prefixes import common_prefix

Numbers = npt.NDArray[np.int64]

WORTH_TRUNK = 256
"""Tokens: below, a forward pass more and smaller batches cost as much as the tokens."""
WORTH_BRANCHES = 0.2
MOST_BRANCHES = 256
"""Tokens of a row beside its longest branch: beyond, its attention costs more than the products of its tokens."""


@dataclass(frozen=True)
class Scored:
    """A sequence of which the tokens from `first` on are scored; the tokens before them are context."""

    ids: Sequence[int]
    first: int


@dataclass
class Piece:
    """Tokens that are computed together, and what they predict."""

    ids: Numbers  # (T,)
    positions: Numbers  # (T,)
    seen: npt.NDArray[np.bool_] | None  # (T, T): which token attends to which; None: to all before it
    places: Numbers  # (N,): which of the T tokens predicts
    targets: Numbers  # (N,): the token that follows it
    owners: Numbers  # (N,): in which sequence


@dataclass
class Trunk:
    """A piece after which others continue; the root has none."""

    piece: Piece | None = None
    rows: list[Piece] = field(default_factory=list)
    trunks: list[Trunk] = field(default_factory=list)


def plan(sequences: Sequence[Scored]) -> Trunk:
    """The tree of all sequences. The last token of each is predicted and never computed with."""
    order = sorted(range(len(sequences)), key=lambda i: tuple(sequences[i].ids))
    tree = _Sorted([sequences[i] for i in order], np.array(order, dtype=np.int64))
    root = Trunk()
    waiting = [(0, len(order), 0, root)]
    while waiting:
        low, high, depth, trunk = waiting.pop()
        while low < high and tree.lengths[low] == depth:  # ends within the trunk, which scores it
            low += 1
        if low == high:
            continue
        shared = int(tree.common[low + 1 : high].min(initial=tree.lengths[low]))
        cuts = [low, *(low + 1 + np.flatnonzero(tree.common[low + 1 : high] == shared)).tolist(), high]
        total, longest = tree.tokens(low, high, depth), int(tree.lengths[low:high].max()) - depth
        saved = (shared - depth) * (len(cuts) - 2)
        if high - low == 1 or (total - longest <= MOST_BRANCHES and saved >= WORTH_BRANCHES * total):
            trunk.rows.append(tree.row(low, high, depth))
            continue
        rows = max(len(cuts) - 1, total // MOST_BRANCHES)
        if (shared - depth) * (rows - 1) >= WORTH_TRUNK:
            grown = Trunk(tree.chain(low, high, depth, shared))
            trunk.trunks.append(grown)
            trunk, depth = grown, shared
        waiting.extend((a, b, depth, trunk) for a, b in itertools.pairwise(cuts))
    return root


class _Sorted:
    """Sequences in the order of their ids, so that those that begin alike are neighbours."""

    def __init__(self, sequences: Sequence[Scored], numbers: Numbers) -> None:
        self.numbers = numbers
        self.ids = [np.asarray(each.ids, dtype=np.int64) for each in sequences]
        self.first = np.array([each.first for each in sequences], dtype=np.int64)
        self.lengths = np.array([len(ids) - 1 for ids in self.ids], dtype=np.int64)  # computed tokens
        self.common = np.zeros(len(self.ids), dtype=np.int64)  # with the sequence before
        computed = [ids[:-1].astype(np.int32) for ids in self.ids]
        for i, (before, ids) in enumerate(itertools.pairwise(computed), 1):
            self.common[i] = common_prefix(before, ids)

    def tokens(self, low: int, high: int, depth: int) -> int:
        """Of these sequences behind `depth`, each shared one once."""
        return int((self.lengths[low:high] - depth).sum() - (self.common[low + 1 : high] - depth).sum())

    def chain(self, low: int, high: int, start: int, stop: int) -> Piece:
        """Tokens start..stop-1 that all these sequences have."""
        where = np.arange(start, stop)
        found = [self._predictions(i, start, stop, where - start) for i in range(low, high)]
        return Piece(self.ids[low][start:stop], where, None, *map(np.concatenate, zip(*found, strict=True)))

    def row(self, low: int, high: int, depth: int) -> Piece:
        """All tokens behind `depth`, those of later sequences behind those of earlier ones."""
        starts = np.maximum(self.common[low:high], depth)
        starts[0] = depth
        total = int((self.lengths[low:high] - starts).sum())
        seen, places = (
            np.zeros((total, total), dtype=bool),
            np.zeros(int(self.lengths[low:high].max()), np.int64),
        )
        at, found = 0, []
        for i, start in zip(range(low, high), starts.tolist(), strict=True):
            end, new = int(self.lengths[i]), int(self.lengths[i]) - start
            places[start:end] = np.arange(at, at + new)  # by depth: where the tokens of this sequence are
            seen[at : at + new, places[depth:start]] = True
            seen[at : at + new, at : at + new] = np.tri(new, dtype=bool)
            found.append(self._predictions(i, depth, end, places[depth:end]))
            at += new
        starts_at = zip(range(low, high), starts.tolist(), strict=True)
        parts = [(self.ids[i][start:-1], np.arange(start, self.lengths[i])) for i, start in starts_at]
        ids, positions = map(np.concatenate, zip(*parts, strict=True))
        branched = total > int(self.lengths[low:high].max()) - depth
        predictions = map(np.concatenate, zip(*found, strict=True))
        return Piece(ids, positions, seen if branched else None, *predictions)

    def _predictions(
        self, i: int, start: int, stop: int, places: Numbers
    ) -> tuple[Numbers, Numbers, Numbers]:
        """What sequence i scores by its tokens start..stop-1, which lie at `places` of a piece."""
        begin = max(start, int(self.first[i]) - 1)  # the token before the first that is scored predicts it
        chosen, targets = places[begin - start :].copy(), self.ids[i][begin + 1 : stop + 1]
        return chosen, targets, np.full(len(chosen), self.numbers[i])
