"""The parts of the review that need no store: business hours, new facts, edits, shares, a request's shape."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ziggurat.product.errors import Invalid
from ziggurat.store.clock import SECOND, from_iso
from ziggurat.workbench.review import hours
from ziggurat.workbench.review.edits import compared, edit_of
from ziggurat.workbench.review.facts import new_facts
from ziggurat.workbench.review.metrics import clears, share
from ziggurat.workbench.review.policies import templates, validated
from ziggurat.workbench.review.routing import Words

WEEK = {day: [["09:00", "12:00"], ["13:00", "17:00"]] for day in hours.DAYS[:5]}
OFFICE = hours.checked({"zone": "Europe/Berlin", "hours": WEEK, "holidays": ["2026-12-25"]})


def berlin(text: str) -> int:
    return from_iso(text)


def test_a_deadline_skips_nights_weekends_lunch_and_holidays() -> None:
    """By hand: Thursday 24 December 2026 16:00 in Berlin is 15:00 UTC. Two open hours: one until 17:00, Friday is a
    holiday, then the weekend, and the second hour is Monday 28 from 09:00 to 10:00, which is 09:00 UTC."""
    due = hours.after(berlin("2026-12-24T15:00:00+00:00"), 2 * 3600, OFFICE)
    assert due == berlin("2026-12-28T09:00:00+00:00")
    over_lunch = hours.after(berlin("2026-12-21T10:30:00+00:00"), 3600, OFFICE)  # 11:30 in Berlin
    assert over_lunch == berlin("2026-12-21T12:30:00+00:00")
    assert hours.between(berlin("2026-12-24T15:00:00+00:00"), due, OFFICE) == 2 * 3600


def test_a_night_in_which_the_clock_changes_has_its_real_length() -> None:
    """Clocks in Berlin go from 02:00 to 03:00 on 28 March 2027, so that Sunday has 23 hours."""
    sunday = hours.checked({"zone": "Europe/Berlin", "hours": {"sun": [["00:00", "24:00"]]}})
    begin, end = berlin("2027-03-27T12:00:00+00:00"), berlin("2027-03-29T12:00:00+00:00")
    assert hours.between(begin, end, sunday) == 23 * 3600


def slow(start: int, end: int) -> float:
    """Minute by minute, the obvious way."""
    from zoneinfo import ZoneInfo

    zone, open_minutes = ZoneInfo("Europe/Berlin"), 0
    now = datetime.fromtimestamp(start / SECOND, UTC)
    while now.timestamp() * SECOND < end:
        local = now.astimezone(zone)
        spans = WEEK.get(hours.DAYS[local.weekday()], [])
        clock = local.strftime("%H:%M")
        open_minutes += local.date().isoformat() != "2026-12-25" and any(a <= clock < b for a, b in spans)
        now += timedelta(minutes=1)
    return open_minutes * 60.0


@settings(max_examples=15, deadline=None, database=None)
@given(start=st.integers(0, 14 * 24 * 60), minutes=st.integers(1, 1_500))
def test_open_hours_are_those_that_one_counts_minute_by_minute(start: int, minutes: int) -> None:
    begin = berlin("2026-12-17T00:00:00+00:00") + start * 60 * SECOND
    due = hours.after(begin, minutes * 60, OFFICE)
    assert hours.between(begin, due, OFFICE) == minutes * 60
    assert slow(begin, due) == minutes * 60


@pytest.mark.parametrize(
    "calendar",
    [
        {"zone": "Mars/Olympus", "hours": WEEK},
        {"zone": "UTC", "hours": {}},
        {"zone": "UTC", "hours": {"mon": [["17:00", "09:00"]]}},
        {"zone": "UTC", "hours": {"noday": [["09:00", "17:00"]]}},
        {"zone": "UTC", "hours": WEEK, "holidays": ["Christmas"]},
    ],
)
def test_a_calendar_that_cannot_be_is_refused(calendar: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        hours.checked(calendar)


def marked(draft: str, *request: str) -> list[str]:
    return [draft[one.start : one.end] for one in new_facts(draft, request)]


def test_facts_that_the_request_does_not_have_are_marked() -> None:
    """The letter of the source: a post-doc was asked for, and the machine wrote PhD."""
    request = "Recommend Li Wei, a post-doc at Tsinghua University with 3 papers and 1,200 citations."
    draft = (
        "Li Wei finished a PhD at Tsinghua University in 2021. He has 3 papers, 1200 citations, and 2 prizes."
    )
    assert marked(draft, request) == ["PhD", "2021", "2"]
    assert marked("李伟是我校的博士，发表论文3篇。", "推荐信：李伟，博士后，论文3篇") == ["博士"]
    assert marked("李伟是我校的博士后。", "推荐信：李伟，博士后") == []
    assert marked("Write to ana@x.org or https://x.org/a.", "Write to ana@x.org") == ["https://x.org/a."]
    assert marked("It takes 三个 days? No: 需要三个工作日。", "多久？") == ["三", "三"]
    assert marked("The answer is here. We can help.", "Help?") == []


def test_an_edit_is_as_large_as_what_it_changes() -> None:
    assert edit_of("same", "same") == (0.0, 0)
    assert edit_of("color", "colour") == (round(1 / 6, 4), 1)
    assert edit_of("你好世界", "你好中国") == (0.5, 2)
    assert edit_of("a b c", "") == (1.0, 5)
    pieces = compared("one two", "one three")
    assert "".join(old for _, old, _ in pieces) == "one two"
    assert "".join(new for _, _, new in pieces) == "one three"


def test_the_quarter_is_cleared_by_the_interval_not_by_the_share() -> None:
    """Wilson's bounds by hand: 30 of 100 is [0.2189, 0.3958], so a quarter is open; 40 of 100 begins at 0.3094."""
    assert share(30, 100)["low"] == pytest.approx(0.2189, abs=1e-4)
    assert share(30, 100)["high"] == pytest.approx(0.3958, abs=1e-4)
    assert clears(30, 100) == {"0.25": "undecided", "0.5": "no", "0.75": "no"}
    assert clears(40, 100)["0.25"] == "yes"
    assert clears(0, 0) == dict.fromkeys(("0.25", "0.5", "0.75"), "undecided")


def test_words_are_whole_words_or_parts_of_chinese() -> None:
    said = Words("I want a REFUND for the taxi. 我要退款。")
    assert said.has("refund")
    assert not said.has("tax")
    assert said.has("退款")
    assert said.count(["taxi", "want a", "nothing"]) == 2


def test_every_template_is_a_policy_in_both_languages() -> None:
    names = {"doctor", "lawyer", "consultant", "finance", "tourism", "education", "customer_service"}
    assert set(templates()) == names
    for one in templates().values():
        assert set(one["label"]) == {"en", "zh"}
        for policy in one["policies"]:
            assert validated(policy).mode == "all"
            assert any("\u4e00" <= letter <= "\u9fff" for word in policy["words"] for letter in word)
