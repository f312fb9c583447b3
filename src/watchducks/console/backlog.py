"""How late requests are counted: what waits in the spools of all hosts, by their own reports."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime

from watchducks.console.interfaces import Hosts
from watchducks.stores.interfaces import StoreUnavailable

# Hosts report twice a minute; a page is asked for oftener.
ASK_SECONDS: Final = 15.0
# Rows are stored within seconds; of a restart of the log store nobody has to be told.
NEWS_SECONDS: Final = 60.0
_LAG: Final = "watchducks_shipper_lag_seconds"


class Backlog:
    """Asks for hosts' reports now and then, for whoever looks at a page."""

    def __init__(self, hosts: Hosts, clock: IReactorTime) -> None:
        self._hosts = hosts
        self._clock = clock
        self._asked = -ASK_SECONDS
        self._minutes = 0

    async def minutes(self) -> int:
        """Return for how many minutes the oldest request waits that is not counted yet; 0: it is
        no news, or nobody can tell."""
        now = self._clock.seconds()
        if now - self._asked >= ASK_SECONDS:
            self._asked = now
            try:
                reports = await self._hosts.hosts()
            except StoreUnavailable:
                reports = ()
            lags = [
                sample.value
                for report in reports
                if not report.silent(now)
                for sample in report.samples
                if sample.name == _LAG
            ]
            longest = max(lags, default=0.0)
            self._minutes = round(longest / 60) if longest > NEWS_SECONDS else 0
        return self._minutes
