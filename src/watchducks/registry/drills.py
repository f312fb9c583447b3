"""The end of drills in the registry, so that everybody who follows it hears of it.

Name servers end a drill by their own clocks and need none of this; their secondaries do, who see a
change only by the serial.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.model.changes import Changes
from watchducks.model.sites import Site
from watchducks.registry.registration import SiteChanges
from watchducks.registry.statements import SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable

LOOK_SECONDS: Final = 2.0


class DrillStore(Protocol):
    """Where drills are kept: :class:`watchducks.registry.registry.Registry`."""

    async def update(self, name: str, changes: SiteChanges) -> Site:
        """Change a site.

        :raises SiteNotFound: there is no such site.
        """


class DrillEnds:
    """A Part; follow the registry's feed with :meth:`apply`."""

    def __init__(self, store: DrillStore, *, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._drills: dict[str, Site] = {}
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=Logger(), name="ending drills"
        )

    def apply(self, changes: Changes) -> None:
        """Take over where there is a drill."""
        for zone in changes.removed:
            self._drills.pop(zone, None)
        for site in changes.sites:
            self._drills.pop(site.zone, None)
            if site.drill_until:
                self._drills[site.zone] = site

    async def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()

    async def _look(self) -> None:
        now = self._clock.seconds()
        for site in [site for site in self._drills.values() if site.drill_until <= now]:
            try:
                await self._store.update(site.name, SiteChanges(drill=False))
            except StoreUnavailable:  # the feed of the registry says so already
                return
            except SiteNotFound:
                pass
            if self._drills.get(site.zone) is site:
                del self._drills[site.zone]
