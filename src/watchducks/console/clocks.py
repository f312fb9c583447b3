"""Clocks: in whose time zone a page tells days and hours, and divides what it draws.

What somebody chooses (``?tz=``, kept in a cookie) goes before what his account has kept, and that
before what his browser says, which the script puts into a cookie of its own. Without any of them it
is UTC, and the page says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from watchducks.analytics.periods import time_zone
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.languages import COOKIE_SECONDS
from watchducks.model.problems import InvalidFields

ARGUMENT: Final = b"tz"
CHOSEN_COOKIE: Final = b"tz"
# Written by web/src/zone.ts.
BROWSER_COOKIE: Final = b"browser_tz"
# Offered while one types: the places of most people for each hour of the day. Any name of IANA's
# is taken.
OFFERED: Final = (
    "Asia/Seoul",
    "Asia/Tokyo",
    "Asia/Shanghai",
    "Asia/Singapore",
    "Asia/Bangkok",
    "Asia/Kolkata",
    "Asia/Dubai",
    "Europe/Moscow",
    "Europe/Istanbul",
    "Europe/Athens",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/London",
    "UTC",
    "America/Sao_Paulo",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Pacific/Honolulu",
    "Pacific/Auckland",
    "Australia/Sydney",
)
# A cookie is not shown to whom it is wrong for, so only what looks like a name is looked up.
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{1,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Clock:
    """:ivar source: whose word it is: "chosen", "account", "browser", or "" for nobody's."""

    zone: ZoneInfo
    source: str = ""

    @property
    def name(self) -> str:
        """The zone's IANA name."""
        return self.zone.key

    def offset(self, posix_seconds: float) -> str:
        """Write by how much the zone differs from UTC at a moment: UTC+9, UTC-3:30."""
        found = datetime.fromtimestamp(posix_seconds, self.zone).utcoffset() or timedelta()
        minutes = round(found.total_seconds() / 60)
        hours, rest = divmod(abs(minutes), 60)
        sign = "-" if minutes < 0 else "+"
        return f"UTC{sign}{hours}:{rest:02}" if rest else f"UTC{sign}{hours}" if hours else "UTC"


def clock_of(request: ConsoleRequest) -> Clock:
    """Return the clock of a page. Who asks has been looked at (:class:`~.access.Access`), or his
    account is not asked.

    :raises InvalidFields: ``?tz=`` names no time zone.
    """
    asked = argument(request, ARGUMENT)
    if asked:
        return Clock(time_zone(asked), "chosen")
    cookies = request.received_cookies
    account = request.viewer.time_zone if request.viewer is not None else ""
    return _first(
        (
            ("chosen", cookies.get(CHOSEN_COOKIE, b"").decode("ascii", "replace")),
            ("account", account),
            ("browser", cookies.get(BROWSER_COOKIE, b"").decode("ascii", "replace")),
        )
    )


def keep_choice(request: ConsoleRequest) -> None:
    """Have the browser remember the time zone that was asked for."""
    asked = argument(request, ARGUMENT)
    if asked:
        remember(request, asked)


def remember(request: ConsoleRequest, name: str) -> None:
    """Have the browser remember a time zone; "": forget the choice."""
    request.addCookie(CHOSEN_COOKIE, name, max_age=str(COOKIE_SECONDS if name else 0))


def _first(said: Iterable[tuple[str, str]]) -> Clock:
    for source, name in said:
        if _NAME.fullmatch(name):
            try:
                return Clock(time_zone(name), source)
            except InvalidFields:
                continue
    return Clock(ZoneInfo("UTC"))
