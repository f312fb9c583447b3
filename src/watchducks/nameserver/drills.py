"""Drills end by the name server's own clock, whatever becomes of the registry meanwhile."""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.nameserver.zones import ZoneTable

# A drill lasts minutes, and what resolvers remember of it half a minute longer.
LOOK_SECONDS: Final = 1.0


class Drills:
    """A Part."""

    def __init__(self, zones: ZoneTable, *, clock: IReactorTime) -> None:
        self._zones = zones
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=Logger(), name="looking at drills"
        )

    async def start(self) -> None:
        """Begin."""
        self._looks.start()

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()

    async def _look(self) -> None:
        self._zones.end_drills()
