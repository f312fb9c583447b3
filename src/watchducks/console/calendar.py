"""Calendar: how many visitors each of the last thirty days had. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from watchducks.analytics.results import VisitorsPoint

# Shades from none to the fullest day.
_LEVELS: Final = 5


@dataclass(frozen=True, slots=True)
class Day:
    """:ivar level: from 0, nobody, to 5: the shade it is drawn in."""

    time: int
    iso: str
    number: int
    visitors: int
    level: int


def calendar(points: Sequence[VisitorsPoint], zone: tzinfo) -> list[Day]:
    """Return the days of ``zone``; empty if nobody came in any of them."""
    most = max((point.visitors for point in points), default=0)
    if not most:
        return []
    return [
        Day(
            point.time,
            day.date().isoformat(),
            day.day,
            point.visitors,
            -(-point.visitors * _LEVELS // most),
        )
        for point in points
        for day in [datetime.fromtimestamp(point.time, zone)]
    ]
