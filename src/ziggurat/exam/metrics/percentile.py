"""Which part of the people who sat an examination a score surpasses: a lower bound, read from a published table.

`settings.table`: pairs of a share of points and the percentile of people below it, `settings.source` where it is from.
Between two lines of the table the lower one counts. For a `choice` task; the main figure stays the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ziggurat.errors import UsageError
from ziggurat.exam.item import Found, Item, Mark


def mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark:
    """UsageError: this metric has figures of a whole task alone."""
    raise UsageError("the metric percentile has figures of a whole task only; use it for the form choice.")


def summary(found: Sequence[Found], settings: Mapping[str, Any]) -> dict[str, float]:
    """UsageError without a table and its source."""
    if not settings.get("table") or not settings.get("source"):
        raise UsageError(
            "the metric percentile needs settings.table (pairs: share, percentile) and settings.source."
        )
    share = sum(one.mark.scores["score"] for one in found) / max(len(found), 1)
    return {"percentile": percentile(share, settings["table"])}


def percentile(share: float, table: Sequence[Sequence[float]]) -> float:
    """
    >>> percentile(0.71, [[0.5, 30], [0.7, 60], [0.9, 95]])
    60.0
    """
    return max((float(people) for points, people in table if share >= points), default=0.0)
