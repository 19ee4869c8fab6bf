"""Times: whole microseconds since 1970 in UTC in the tables, ISO 8601 with `Z` outside."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

SECOND = 1_000_000
DAY = 86_400 * SECOND
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now_us() -> int:
    return time.time_ns() // 1_000


def iso(us: int) -> str:
    """`2026-11-30T14:05:36.123456Z`."""
    return (EPOCH + timedelta(microseconds=us)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def iso_or_none(us: int | None) -> str | None:
    return None if us is None else iso(us)


def from_iso(text: str) -> int:
    """Microseconds. A time without a zone is taken as UTC.

    Raises:
        ValueError: this is not a time.
    """
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - EPOCH) // timedelta(microseconds=1)
