from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.analytics.periods import DAY, HOUR, LONGEST, MINUTE, Period, period
from watchducks.model.problems import InvalidFields

NOW = 1_764_000_123.5  # 2025-11-24T16:02:03.5Z


@pytest.mark.parametrize(
    ("range_", "length", "bucket"),
    [("day", DAY, HOUR), ("week", 7 * DAY, 6 * HOUR), ("month", 30 * DAY, DAY)],
)
def test_ranges_end_with_the_present_bucket(range_: str, length: int, bucket: int) -> None:
    result = period(range_, NOW)
    assert (result.end - result.start, result.bucket) == (length, bucket)
    assert result.end - bucket <= NOW < result.end
    assert result.until == int(NOW) + 1


def test_the_period_before_has_come_as_far() -> None:
    result = Period(10 * DAY, 11 * DAY, HOUR, 10 * DAY + 7)
    assert result.before == Period(9 * DAY, 10 * DAY, HOUR, 9 * DAY + 60, is_cut=True)
    assert result.before.before.until == 8 * DAY + 60
    assert (result.data_end, result.before.data_end) == (11 * DAY, 9 * DAY + 60)


@given(
    st.integers(0, int(NOW) - 1).flatmap(
        lambda start: st.tuples(st.just(start), st.integers(start + 1, start + LONGEST))
    )
)
def test_custom_covers_what_was_asked_in_whole_buckets(limits: tuple[int, int]) -> None:
    from_, to = limits
    result = period("custom", NOW, _text(from_), _text(to))
    assert result.start <= from_ < to <= result.end
    assert result.start % result.bucket == result.end % result.bucket == 0
    assert 1 <= len(result.times) <= 368
    assert result.until <= result.end


def _text(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def test_custom_understands_time_zones_and_minutes() -> None:
    result = period("custom", NOW, "2025-11-24T09:00:00+09:00", "2025-11-24t02:00:30.5z")
    assert (result.start % DAY, result.end % DAY) == (0, 2 * HOUR + MINUTE)
    assert result.bucket == MINUTE


@pytest.mark.parametrize(
    ("range_", "from_", "to", "problems"),
    [
        ("year", None, None, {"range": "unknown-range"}),
        ("", None, None, {"range": "unknown-range"}),
        ("{0}%s", None, None, {"range": "unknown-range"}),
        ("day", "2025-01-01T00:00:00Z", None, {"from": "only-with-custom"}),
        ("custom", None, None, {"from": "missing", "to": "missing"}),
        ("custom", "2025-01-01", "2025-01-02T00:00:00", {"from": "not-a-time", "to": "not-a-time"}),
        ("custom", "2025-13-01T00:00:00Z", "x" * 999, {"from": "not-a-time", "to": "not-a-time"}),
        (
            "custom",
            "1969-12-31T23:59:59Z",
            "2999-01-01T00:00:00Z",
            {"from": "time-out-of-range", "to": "time-out-of-range"},
        ),
        (
            "custom",
            "2025-01-02T00:00:00Z",
            "2025-01-02T00:00:00Z",
            {"to": "ends-before-it-begins"},
        ),
        ("custom", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", {"from": "in-the-future"}),
        ("custom", "2023-01-02T00:00:00Z", "2025-01-03T00:00:00Z", {"from": "period-too-long"}),
        (
            "custom",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            {"from": "time-out-of-range", "to": "time-out-of-range"},
        ),
    ],
)
def test_what_is_wrong_is_told_by_field(
    range_: str, from_: str | None, to: str | None, problems: dict[str, str]
) -> None:
    with pytest.raises(InvalidFields) as error:
        period(range_, NOW, from_, to)
    codes = {field: problem.code for field, problem in error.value.problems.items()}
    assert codes == problems


@given(st.text(), st.none() | st.text(), st.none() | st.text())
def test_any_text_is_a_period_or_a_problem(range_: str, from_: str | None, to: str | None) -> None:
    with contextlib.suppress(InvalidFields):
        period(range_, NOW, from_, to)


@pytest.mark.parametrize(
    ("zone", "now", "lengths"),
    [
        # The clocks went back on 25 October 2026 in Berlin, and forward on 29 March.
        ("Europe/Berlin", "2026-10-26T12:00:00+01:00", {24: 29, 25: 1}),
        ("Europe/Berlin", "2026-03-30T12:00:00+02:00", {24: 29, 23: 1}),
        ("Asia/Seoul", "2026-10-26T12:00:00+09:00", {24: 30}),
    ],
)
def test_days_are_those_of_the_viewer(zone: str, now: str, lengths: dict[int, int]) -> None:
    moment = datetime.fromisoformat(now)
    result = period("month", moment.timestamp(), zone=zone)
    hours = [(b - a) // HOUR for a, b in pairwise(result.edges)]
    assert {length: hours.count(length) for length in set(hours)} == lengths
    for time in result.edges:
        assert datetime.fromtimestamp(time, ZoneInfo(zone)).hour == 0
    assert result.times[-1] <= moment.timestamp() < result.end


@given(
    st.sampled_from(["UTC", "Asia/Seoul", "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Cairo"]),
    st.integers(0, int(NOW)),
    st.sampled_from(["day", "week", "month"]),
)
def test_buckets_of_any_zone_follow_each_other(zone: str, now: int, range_: str) -> None:
    result = period(range_, now, zone=zone)
    assert all(0 < b - a <= result.bucket + HOUR for a, b in pairwise(result.edges))
    assert result.times[-1] <= now < result.end
    assert len(result.times) == {"day": 24, "week": 28, "month": 30}[range_]


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "x" * 300, "\0"])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidFields) as error:
        period("day", NOW, zone=zone)
    assert set(error.value.problems) == {"tz"}


def test_the_period_before_has_as_many_buckets_also_where_clocks_change() -> None:
    # Berlin's clocks went back on 2026-10-25: that week has one hour more.
    for now in (1_793_190_000, 1_795_300_000):
        for name in ("day", "week", "month"):
            found = period(name, now, zone="Europe/Berlin")
            times, before = list(found.times), list(found.before.times)
            shift = found.end - found.start
            assert [time + shift for time in before] == times
            assert found.before.end == found.start
