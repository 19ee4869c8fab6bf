"""Business hours: when a deadline falls, and how much working time lies between two moments.

A calendar is JSON: `{"zone": "Europe/Berlin", "hours": {"mon": [["09:00", "17:00"]]}, "holidays": ["2026-12-25"]}`. An
empty one is open at all hours. Times are whole microseconds since 1970 in UTC; a day is a day of the calendar's zone,
so a night in which clocks change has 23 or 25 hours, and a shift across it is as long as it really is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ziggurat.product.errors import Invalid
from ziggurat.store.clock import EPOCH, SECOND

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MOST_DAYS = 3_660
"""A deadline is looked for over so many days; a calendar has at least one open day in them."""


def checked(calendar: Any) -> dict[str, Any]:
    """The calendar, if it can be used.

    Raises:
        Invalid: an unknown zone or day, hours that do not rise, or no open hour at all.
    """
    if not isinstance(calendar, Mapping):
        raise Invalid("calendar must be an object with zone, hours and holidays.", param="calendar")
    if not calendar:
        return {}
    if unknown := sorted(calendar.keys() - {"zone", "hours", "holidays"}):
        raise Invalid(
            f"calendar has no field {unknown[0]}; it has zone, hours and holidays.", param="calendar"
        )
    zone = calendar.get("zone", "UTC")
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise Invalid(
            f"calendar.zone is {zone!r}; name a time zone, such as Europe/Berlin.", param="calendar.zone"
        ) from None
    hours = calendar.get("hours") or {}
    if not isinstance(hours, Mapping) or not any(hours.values()):
        raise Invalid(
            "calendar.hours needs one open day; without a calendar all hours count.", param="calendar.hours"
        )
    days = {day: _spans(day, spans) for day, spans in hours.items()}
    return {"zone": zone, "hours": days, "holidays": _holidays(calendar.get("holidays") or [])}


def _spans(day: str, spans: Any) -> list[list[str]]:
    if day not in DAYS:
        raise Invalid(
            f"calendar.hours has the day {day!r}; days are {', '.join(DAYS)}.", param="calendar.hours"
        )
    found: list[list[str]] = []
    try:
        for begin, end in spans:
            late = "24:00" if end in ("24:00", "00:00") else time.fromisoformat(end).strftime("%H:%M")
            early = time.fromisoformat(begin).strftime("%H:%M")
            if early >= late or (found and early < found[-1][1]):
                raise ValueError(early)
            found.append([early, late])
    except (TypeError, ValueError):
        raise Invalid(
            f'calendar.hours.{day} must be pairs of rising times, such as [["09:00", "17:00"]].',
            param="calendar.hours",
        ) from None
    return found


def _holidays(days: Any) -> list[str]:
    try:
        return sorted({date.fromisoformat(day).isoformat() for day in days})
    except (TypeError, ValueError):
        raise Invalid(
            "calendar.holidays must be days, such as 2026-12-25.", param="calendar.holidays"
        ) from None


def after(start_us: int, seconds: float, calendar: Mapping[str, Any]) -> int:
    """The moment when so many open seconds have passed since `start_us`."""
    left = round(seconds * SECOND)
    if not calendar:
        return start_us + left
    for opens, closes in _open_from(start_us, calendar):
        begin = max(opens, start_us)
        if begin + left <= closes:
            return begin + left
        left -= closes - begin
    raise Invalid("the calendar has no open hour in ten years; open a day.", param="calendar.hours")


def between(start_us: int, end_us: int, calendar: Mapping[str, Any]) -> float:
    """Open seconds from `start_us` to `end_us`."""
    if not calendar or end_us <= start_us:
        return max(0, end_us - start_us) / SECOND
    total = 0
    for opens, closes in _open_from(start_us, calendar):
        if opens >= end_us:
            break
        total += min(closes, end_us) - max(opens, start_us)
    return total / SECOND


def _open_from(start_us: int, calendar: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Open spans that end after `start_us`, in order."""
    zone, holidays = ZoneInfo(calendar["zone"]), set(calendar["holidays"])
    day = (EPOCH + timedelta(microseconds=start_us)).astimezone(zone).date()
    for _ in range(MOST_DAYS):
        if day.isoformat() not in holidays:
            for begin, end in calendar["hours"].get(DAYS[day.weekday()], ()):
                opens, closes = _moment(day, begin, zone), _moment(day, end, zone)
                if closes > start_us and closes > opens:
                    yield opens, closes
        day += timedelta(days=1)


def _moment(day: date, clock: str, zone: ZoneInfo) -> int:
    if clock == "24:00":
        day, clock = day + timedelta(days=1), "00:00"
    local = datetime.combine(day, time.fromisoformat(clock), zone)
    return (local.astimezone(UTC) - EPOCH) // timedelta(microseconds=1)
