"""This host's reports to the registry, where every console finds those of all hosts."""

from __future__ import annotations

import time
from typing import Final

from twisted.logger import Logger

from watchducks import __version__
from watchducks.appliance.house import House
from watchducks.background import Repeating
from watchducks.model.hosts import HostReport, machine_load, shown
from watchducks.registry.hosts import HostBook
from watchducks.registry.registry import Registry
from watchducks.stores.interfaces import StoreUnavailable

# One small row: who looks sees what was half a minute ago, and the registry does not notice.
REPORT_SECONDS: Final = 30.0


class HostReporter:
    """Reports now and then. A Part."""

    _log = Logger()

    def __init__(self, house: House, registry: Registry) -> None:
        self._house = house
        self._book = HostBook(registry)
        self._since = int(time.time())
        self._reports = Repeating(
            self._report,
            REPORT_SECONDS,
            clock=house.reactor,
            log=self._log,
            name="reporting this host",
        )

    async def start(self) -> None:
        """Report at once, and then again and again."""
        self._reports.start()

    async def stop(self) -> None:
        """Report no more: whoever looks sees when it was the last time."""
        await self._reports.stop()

    async def _report(self) -> None:
        try:
            await self._book.keep(report_of(self._house, self._since))
        except StoreUnavailable as error:  # the feed says so already
            self._log.debug("this host is not reported: {error}", error=str(error))


def report_of(house: House, since: int) -> HostReport:
    """Return what a host says of itself now."""
    node = house.settings.node
    return HostReport(
        node.name,
        int(time.time()),
        since,
        __version__,
        tuple(node.roles),
        node.workers,
        machine_load(),
        house.checks(),
        shown(house.samples()),
    )
