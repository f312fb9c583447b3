"""The calendar of visitors."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from watchducks.analytics.periods import period
from watchducks.analytics.results import VisitorsPoint
from watchducks.console.calendar import calendar
from watchducks.console.languages import Languages

ENGLISH, KOREAN = Languages()["en"], Languages()["ko"]
NOW = 1_795_300_000  # a Sunday in Seoul, and still Saturday in UTC


@pytest.mark.parametrize(("zone", "last"), [("UTC", 21), ("Asia/Seoul", 22)])
def test_days_stand_below_their_weekday(zone: str, last: int) -> None:
    times = period("month", NOW, zone=zone).times
    found = calendar([VisitorsPoint(t, n) for n, t in enumerate(times)], ZoneInfo(zone), ENGLISH)
    assert found is not None
    assert found.weekdays == ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    assert len(found.days) == 30
    assert found.days[-1].iso == f"2026-11-{last}"
    column = (found.column - 1 + 29) % 7
    assert found.weekdays[column] == ("Sat" if zone == "UTC" else "Sun")
    assert [found.days[place].level for place in (0, 1, 15, 29)] == [0, 1, 3, 5]
    assert calendar([VisitorsPoint(t, 0) for t in times], ZoneInfo(zone), ENGLISH) is None


def test_numbers_fit_into_a_day() -> None:
    for value, english, korean in (
        (0, "0", "0"),
        (999, "999", "999"),
        (2141, "2.1K", "2.1천"),
        (209_810_000, "210M", "2.1억"),
        (39_102_000, "39.1M", "3910만"),
    ):
        assert ENGLISH.brief(value) == english
        assert KOREAN.brief(value) == korean
