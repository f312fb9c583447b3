"""Calendar: how many visitors each of the last thirty days had, in weeks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from watchducks.analytics.results import VisitorsPoint
from watchducks.console.languages import Language

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


@dataclass(frozen=True, slots=True)
class Calendar:
    """:ivar weekdays: their names, as the reader's weeks begin.
    :ivar column: which of them the first day is, from 1.
    """

    weekdays: Sequence[str]
    column: int
    days: Sequence[Day]


def calendar(points: Sequence[VisitorsPoint], zone: tzinfo, language: Language) -> Calendar | None:
    """Return the days of ``zone``; None if nobody came in any of them."""
    most = max((point.visitors for point in points), default=0)
    if not most:
        return None
    begins = language.first_weekday
    first = datetime.fromtimestamp(points[0].time, zone).weekday()
    return Calendar(
        [language.weekday((begins + number) % 7) for number in range(7)],
        (first - begins) % 7 + 1,
        [
            Day(
                point.time,
                day.date().isoformat(),
                day.day,
                point.visitors,
                -(-point.visitors * _LEVELS // most),
            )
            for point in points
            for day in [datetime.fromtimestamp(point.time, zone)]
        ],
    )
