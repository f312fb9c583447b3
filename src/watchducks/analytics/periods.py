"""Periods: which stretch of time a chart shows, and how finely it is divided. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    """From ``start`` (in) to ``end`` (out), POSIX seconds.

    :ivar bucket: seconds of one point of the chart; of most of them, where clocks change.
    :ivar until: where the data ends so far: now, in a period that is not over; else ``end``.
    :ivar begins: the beginnings of the buckets, where they are not all equally long.
    :ivar is_cut: what is after ``until`` does not count, although it may be there.
    """

    start: int
    end: int
    bucket: int
    until: int
    begins: tuple[int, ...] = ()
    is_cut: bool = False

    @property
    def before(self) -> Period:
        """The period as long as this one just before it, as far as this one has come by now: to
        the minute, and to the nearest hour where a bucket has several: of days nobody sees the half
        hour, and the minutes of all sites are as much to read as a month of their days."""
        length = self.end - self.start
        until = _up(self.until, MINUTE)
        if self.bucket > HOUR:
            until = _up(until - HOUR // 2, HOUR)
        until = min(until, self.end) - length
        # As many buckets, each as long before its own: what is drawn over each other belongs
        # together, also where clocks changed between them.
        begins = tuple(begin - length for begin in self.begins)
        return Period(self.start - length, self.start, self.bucket, until, begins, is_cut=True)

    @property
    def times(self) -> Sequence[int]:
        """The beginnings of the buckets."""
        return self.begins or range(self.start, self.end, self.bucket)

    @property
    def edges(self) -> Sequence[int]:
        """The beginnings of the buckets, and the end of the last."""
        return (*self.times, self.end)

    @property
    def data_end(self) -> int:
        """Up to where rows count: nobody has rows of the future."""
        return self.until if self.is_cut else self.end


def period(
    range_: str,
    now: float,
    from_: str | None = None,
    to: str | None = None,
    zone: str | None = None,
) -> Period:
    """Return the period that a request asks for.

    ``day``, ``week`` and ``month`` are the last 24 hours, 7 and 30 days up to and with the present
    bucket; ``custom`` is rounded outwards to whole buckets. Days and hours are those of ``zone``.

    :param now: POSIX seconds.
    :param from_: RFC 3339, for ``custom`` only.
    :param to: RFC 3339, for ``custom`` only.
    :param zone: IANA name of the viewer's time zone; None: UTC.
    :raises InvalidFields: ``range``, ``from``, ``to`` or ``tz`` is wrong.
    """
    there = time_zone(zone)
    length = RANGES.get(range_)
    if length is not None:
        _refuse_limits(from_, to)
        bucket = bucket_of(length)
        if bucket <= HOUR:
            end = _down(int(now), bucket, there) + bucket
            return _divided(end - length, end, bucket, int(now) + 1, there)
        # So many days of the calendar, whose hours may be 23 or 25.
        begin = datetime.fromtimestamp(_down(int(now), bucket, there), there)
        end = _next(begin, bucket)
        start = _next(begin, bucket, 1 - length // bucket)
        return _divided(start, end, bucket, int(now) + 1, there)
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
    return _custom(now, from_, to, there)


def _custom(now: float, from_: str | None, to: str | None, zone: ZoneInfo) -> Period:
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
    last = _down(end - 1, bucket, zone)
    end = _next(datetime.fromtimestamp(last, zone), bucket)
    return _divided(_down(start, bucket, zone), end, bucket, int(now) + 1, zone)


def _divided(start: int, end: int, bucket: int, until: int, zone: ZoneInfo) -> Period:
    """Return the period with its buckets, which are as long as each other or those of days whose
    clocks change."""
    begins: list[int] = []
    at = start
    while at < end:
        begins.append(at)
        at = _next(datetime.fromtimestamp(at, zone), bucket)
    until = min(end, until)
    if begins == list(range(start, end, bucket)):
        return Period(start, end, bucket, until)
    return Period(start, end, bucket, until, tuple(begins))


def _down(time: int, bucket: int, zone: ZoneInfo) -> int:
    """Return the beginning of the bucket in which ``time`` is."""
    local = datetime.fromtimestamp(time, zone)
    if bucket <= HOUR:
        offset = int((local.utcoffset() or timedelta()).total_seconds())
        return (time + offset) // bucket * bucket - offset
    hours = local.hour - local.hour % (bucket // HOUR)
    return int(local.replace(hour=hours, minute=0, second=0, fold=0).timestamp())


def _next(begin: datetime, bucket: int, steps: int = 1) -> int:
    """Return the beginning of a bucket that is ``steps`` after the one that begins at ``begin``."""
    if bucket <= HOUR:
        return int(begin.timestamp()) + steps * bucket
    # By the clock on the wall: midnight after midnight, however long the day is.
    wall = begin.replace(tzinfo=None)
    wall -= timedelta(hours=wall.hour % (bucket // HOUR))
    moved = wall + timedelta(seconds=steps * bucket)
    return int(moved.replace(tzinfo=begin.tzinfo).timestamp())


def time_zone(name: str | None) -> ZoneInfo:
    """Return the time zone; None: UTC. :raises InvalidFields: there is none of this name."""
    try:
        return ZoneInfo("UTC" if name is None else name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problem = Problem(
            "unknown-time-zone", "{value} is no time zone, such as Asia/Seoul", value=str(name)[:50]
        )
        raise InvalidFields({"tz": problem}) from None


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
