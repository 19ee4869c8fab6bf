"""Agreement of rankings (rank 1 is best, equal ranks are ties), of texts, and of one rater with a reference.

A ranking of one item is a mapping from completion to rank, the same completions for all people of the item. An item's
`Rankings` is a mapping from person to ranking. Intervals resample items.

    pair_agreement      share of ordered pairs that two people order alike; InstructGPT reports 72.6 +- 1.5 %
    kendall             Kendall's tau-b of two people's ranks of one item, mean over items and pairs of people
    ranking_alpha       Krippendorff's ordinal alpha of the ranks

Sources: Ouyang et al. (arXiv:2203.02155, section 3.4); Kendall, "The treatment of ties in ranking problems" (1945).
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ziggurat.evaluation.agreement import krippendorff
from ziggurat.evaluation.statistics import Interval, sums_bootstrap

Ranking = Mapping[Any, int]
Rankings = Mapping[Any, Ranking]


def pair_agreement(items: Sequence[Rankings], *, ties: bool) -> Interval:
    """Of the pairs of completions that two people ranked, the share that both order alike.

    ties True: a tie is an answer of its own, so both must call the pair a tie or order it alike. ties False: only
    pairs that neither calls a tie count, which is what papers without ties report.
    """
    sums = []
    for people in items:
        alike = seen = 0
        for one, other in combinations(people.values(), 2):
            for a, b in combinations([c for c in one if c in other], 2):
                x, y = _sign(one[b] - one[a]), _sign(other[b] - other[a])
                if ties or (x and y):
                    seen += 1
                    alike += x == y
        if seen:
            sums.append((alike, seen))
    return _mean(sums)


def kendall(items: Sequence[Rankings]) -> Interval:
    """The mean tau-b over items and pairs of people; a pair where one person calls all a tie has none."""
    sums = []
    for people in items:
        found = [tau_b(one, other) for one, other in combinations(people.values(), 2)]
        found = [tau for tau in found if not math.isnan(tau)]
        if found:
            sums.append((sum(found), len(found)))
    return _mean(sums)


def tau_b(one: Ranking, other: Ranking) -> float:
    """(concordant - discordant) / sqrt(pairs not tied in the one x pairs not tied in the other); nan: all are tied."""
    total = untied_one = untied_other = 0
    for a, b in combinations([c for c in one if c in other], 2):
        x, y = _sign(one[b] - one[a]), _sign(other[b] - other[a])
        total += x * y
        untied_one += x != 0
        untied_other += y != 0
    return total / math.sqrt(untied_one * untied_other) if untied_one and untied_other else math.nan


def ranking_alpha(items: Sequence[Rankings]) -> Interval:
    """Each completion is a unit and its ranks are the answers; items are resampled, not completions."""
    units: list[dict[Hashable, int]] = []
    clusters: list[Hashable] = []
    for number, people in enumerate(items):
        if len(people) < 2:
            continue
        for completion in dict.fromkeys(c for ranking in people.values() for c in ranking):
            units.append({who: ranks[completion] for who, ranks in people.items() if completion in ranks})
            clusters.append(number)
    return krippendorff(units, "ordinal", clusters)


def with_reference(
    items: Sequence[Rankings], who: Hashable, references: Sequence[Ranking | None]
) -> list[Rankings]:
    """Items with two rankings: that of `who` and a reference (gold, consensus, people's); the others are left out."""
    return [
        {"person": people[who], "reference": reference}
        for people, reference in zip(items, references, strict=True)
        if reference is not None and who in people
    ]


# --- texts ------------------------------------------------------------------------------------------------------------

_UNIT = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|[^\s\u3400-\u9fff\u3040-\u30ff]+")


def edit_distance(one: str, other: str) -> float:
    """The least number of inserted, deleted and replaced words (Chinese: characters), as a share of the longer text.

    For showing how far two texts are apart; not a measure of agreement, since two good answers may share no word.

    >>> edit_distance("the canal froze", "the canal froze over")
    0.25
    """
    number: dict[str, int] = {}
    a, b = (
        np.array([number.setdefault(unit, len(number)) for unit in _UNIT.findall(text)], dtype=np.int64)
        for text in (one, other)
    )
    if not a.size or not b.size:
        return float(max(a.size, b.size) > 0)
    steps = np.arange(b.size + 1)
    row = steps.copy()
    for count, unit in enumerate(a, 1):
        below = np.minimum(row[1:] + 1, row[:-1] + (b != unit))
        row = (
            np.minimum.accumulate(np.concatenate(([count], below)) - steps) + steps
        )  # insertions along the row
    return float(row[-1]) / max(a.size, b.size)


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


def _mean(sums: Sequence[tuple[float, float]]) -> Interval:
    return sums_bootstrap(
        np.array(sums, dtype=np.float64).reshape(-1, 2), lambda totals: totals[:, 0] / totals[:, 1]
    )
