"""One answer out of several people's: ranked pairs for rankings, the majority for labels, the median for numbers.

Votes are always kept beside the outcome. Source: Tideman, "Independence of clones as a criterion for voting rules"
(1987); Open-Assistant aggregates its rankings the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any


@dataclass(frozen=True)
class Consensus:
    """Ranks by ranked pairs; `votes[a][b]`: how many people put a above b."""

    ranks: dict[Hashable, int]
    votes: dict[Hashable, dict[Hashable, int]]
    voters: int


def ranked_pairs(rankings: Sequence[Mapping[Any, int]]) -> Consensus | None:
    """The consensus over the completions that everybody ranked; None: nobody ranked, or fewer than two are common.

    Pairs are locked in from the largest majority to the smallest (then more winning votes, then the order of names),
    each unless it closes a circle with those before. Completions between which nothing decides share a rank.
    """
    if not rankings:
        return None
    common = [c for c in rankings[0] if all(c in ranks for ranks in rankings)]
    if len(common) < 2:
        return None
    votes: dict[Hashable, dict[Hashable, int]] = {
        a: {b: sum(ranks[a] < ranks[b] for ranks in rankings) for b in common if b != a} for a in common
    }
    won = []
    for a, b in combinations(sorted(common, key=str), 2):
        if votes[b][a] > votes[a][b]:
            a, b = b, a
        if votes[a][b] > votes[b][a]:
            won.append((votes[b][a] - votes[a][b], -votes[a][b], str(a), str(b), a, b))
    above: dict[Hashable, set[Hashable]] = {c: set() for c in common}  # who is locked above c
    for *_, winner, loser in sorted(won, key=lambda one: one[:4]):
        if loser not in _all_above(winner, above):
            above[loser].add(winner)
    return Consensus(_levels(above), votes, len(rankings))


def _all_above(c: Hashable, above: Mapping[Hashable, set[Hashable]]) -> set[Hashable]:
    found: set[Hashable] = set()
    waiting = [c]
    while waiting:
        for one in above[waiting.pop()] - found:
            found.add(one)
            waiting.append(one)
    return found


def _levels(above: Mapping[Hashable, set[Hashable]]) -> dict[Hashable, int]:
    """Whoever has nobody left above it shares the next rank; ranks count places, as in 1 2 2 4."""
    ranks: dict[Hashable, int] = {}
    while len(ranks) < len(above):
        level = [c for c in above if c not in ranks and above[c] <= ranks.keys()]
        place = len(ranks) + 1
        ranks |= dict.fromkeys(level, place)
    return ranks


@dataclass(frozen=True)
class Majority:
    """`value` is None where the first two values have as many votes."""

    value: Any
    votes: dict[Any, int]

    @property
    def share(self) -> float:
        """Of the votes for the first value."""
        return max(self.votes.values()) / sum(self.votes.values())


def majority(values: Sequence[Hashable]) -> Majority | None:
    """The value with most votes; None: nobody voted."""
    if not values:
        return None
    votes = Counter(values)
    order = sorted(votes.items(), key=lambda one: (-one[1], str(one[0])))
    tied = len(order) > 1 and order[0][1] == order[1][1]
    return Majority(None if tied else order[0][0], dict(order))


def median(values: Sequence[float]) -> float | None:
    """The middle value; of two in the middle their mean."""
    x = sorted(values)
    return None if not x else (x[(len(x) - 1) // 2] + x[len(x) // 2]) / 2
