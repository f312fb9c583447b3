"""Periods: which stretch of time a chart shows, and how finely it is divided. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from watchducks.model.problems import InvalidFields, Problem

MINUTE = 60
HOUR = 3600
DAY = 86400

RANGES = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
CUSTOM = "custom"

# A chart that is at most so long has buckets of so many seconds. At most 180 buckets each
# (a year has 366), about as many as a chart has room for.
_BUCKETS = ((3 * HOUR, MINUTE), (2 * DAY, HOUR), (8 * DAY, 6 * HOUR))
_LONGEST_BUCKET = DAY

# A year, leap day included: about as long as raw rows live.
LONGEST = 366 * DAY

# UInt32 times end in 2106; nothing that anybody asks for is near it.
_LATEST = 4_000_000_000

_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Period:
    """From ``start`` (in) to ``end`` (out), POSIX seconds, both multiples of ``bucket``.

    :ivar bucket: seconds of one point of the chart.
    :ivar until: where the data ends so far: now, in a period that is not over; else ``end``.
    """

    start: int
    end: int
    bucket: int
    until: int

    @property
    def before(self) -> Period:
        """The period as long as this one just before it, as far as this one has come by now."""
        length = self.end - self.start
        return Period(self.start - length, self.start, self.bucket, self.until - length)

    @property
    def times(self) -> range:
        """The beginnings of the buckets."""
        return range(self.start, self.end, self.bucket)


def period(range_: str, now: float, from_: str | None = None, to: str | None = None) -> Period:
    """Return the period that a request asks for.

    ``day``, ``week`` and ``month`` are the last 24 hours, 7 and 30 days up to and with the present
    bucket; ``custom`` is rounded outwards to whole buckets. Buckets are aligned to UTC.

    :param now: POSIX seconds.
    :param from_: RFC 3339, for ``custom`` only.
    :param to: RFC 3339, for ``custom`` only.
    :raises InvalidFields: ``range``, ``from`` or ``to`` is wrong.
    """
    length = RANGES.get(range_)
    if length is not None:
        _refuse_limits(from_, to)
        bucket = bucket_of(length)
        end = _up(int(now) + 1, bucket)
        return Period(end - length, end, bucket, min(end, int(now) + 1))
    if range_ != CUSTOM:
        raise InvalidFields(
            {
                "range": Problem(
                    "unknown-range",
                    "{value} is not a range: day, week, month or custom",
                    value=range_[:50],
                )
            }
        )
    return _custom(now, from_, to)


def _custom(now: float, from_: str | None, to: str | None) -> Period:
    problems: dict[str, Problem] = {}
    start, end = 0, 0
    try:
        start = _time(from_)
    except Problem as problem:
        problems["from"] = problem
    try:
        end = _time(to)
    except Problem as problem:
        problems["to"] = problem
    if not problems:
        if end <= start:
            problems["to"] = Problem("ends-before-it-begins", "the end must be after the beginning")
        elif start > now:
            problems["from"] = Problem("in-the-future", "the beginning must not be in the future")
        elif end - start > LONGEST:
            problems["from"] = Problem(
                "period-too-long",
                "at most {days} days can be shown at once",
                days=LONGEST // DAY,
            )
    if problems:
        raise InvalidFields(problems)
    bucket = bucket_of(end - start)
    end = _up(end, bucket)
    return Period(start // bucket * bucket, end, bucket, min(end, int(now) + 1))


def bucket_of(length: int) -> int:
    """Return the seconds of one bucket in a period of ``length`` seconds."""
    return next((bucket for longest, bucket in _BUCKETS if length <= longest), _LONGEST_BUCKET)


def _refuse_limits(from_: str | None, to: str | None) -> None:
    problems = {
        field: Problem("only-with-custom", 'this goes with the range "custom" only')
        for field, value in (("from", from_), ("to", to))
        if value is not None
    }
    if problems:
        raise InvalidFields(problems)


def _up(time: int, bucket: int) -> int:
    return -(-time // bucket) * bucket


def _time(text: str | None) -> int:
    """Return an RFC 3339 time as POSIX seconds. :raises Problem: it is none, or out of range."""
    if not text:
        raise Problem("missing", "a custom range needs this time, such as 2026-11-22T00:00:00Z")
    try:
        # Without the time zone nobody knows which moment is meant; fromisoformat allows that.
        if not _RFC3339.fullmatch(text):
            raise ValueError
        time = int(datetime.fromisoformat(text.upper()).timestamp())
    except (ValueError, OverflowError):
        raise Problem(
            "not-a-time",
            "{value} is not a time with its time zone, such as 2026-11-22T00:00:00Z",
            value=text[:50],
        ) from None
    if not 0 <= time <= _LATEST:
        raise Problem("time-out-of-range", "{value} is out of range", value=text[:50])
    return time
