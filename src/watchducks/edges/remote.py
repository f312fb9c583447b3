"""What an edge sees of its keeper: the same seams as the parts that only the keeper has.

While the keeper is away, what was told stands, and what has to be asked raises StoreUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchducks.edges.line import Line
from watchducks.edges.messages import Opinion, read_changes, read_opinion
from watchducks.model.changes import Apply, Changes
from watchducks.model.origins import Address
from watchducks.model.sites import Site
from watchducks.nameserver.counts import Counted
from watchducks.registry.snapshot import site_of


class RemoteSites:
    """The registry, as far as a proxy needs it."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def site_for_host(self, host: str) -> Site | None:
        """See :class:`watchducks.routes.SiteSource`."""
        return _read_site(await self._line.ask("site_for_host", host))

    async def saw_certificate(self, site_id: int) -> Site | None:
        """See :class:`watchducks.proxy.sightings.Steps`."""
        return _read_site(await self._line.ask("saw_certificate", site_id))

    async def saw_request(self, site_id: int) -> Site | None:
        """See :class:`watchducks.proxy.sightings.Steps`."""
        return _read_site(await self._line.ask("saw_request", site_id))


def _read_site(item: Any) -> Site | None:
    return None if item is None else site_of(item)


class RemoteFeed:
    """The registry's feed. What comes before :meth:`settle` is kept for those who follow later."""

    def __init__(self) -> None:
        self.lineage = ""
        self._followers: list[Apply] = []
        self._told: list[Changes] | None = []

    async def follow(self, apply: Apply) -> None:
        """See :meth:`watchducks.registry.feed.SiteFeed.follow`."""
        self._followers.append(apply)
        for changes in self._told or ():
            apply(changes)

    def told(self, lineage: str, *said: Any) -> None:
        """Take a message of changes."""
        self.lineage = lineage
        changes = read_changes(*said)
        if self._told is not None:
            self._told.append(changes)
        for apply in self._followers:
            apply(changes)

    def settle(self) -> None:
        """All who follow do so by now."""
        self._told = None


class RemoteVerdicts:
    """What the keeper's judge says (:class:`watchducks.model.verdicts.Verdicts`)."""

    def __init__(self) -> None:
        self.revision = 0
        self._opinion = Opinion(0, None, ())

    def told(self, said: Sequence[Any]) -> None:
        """Take a message of verdicts."""
        self._opinion = read_opinion(said)
        self.revision += 1

    @property
    def serial(self) -> int:
        return self._opinion.serial

    @property
    def ttl_limit(self) -> int | None:
        return self._opinion.ttl_limit

    def healthy_addresses(self) -> Sequence[Address]:
        return self._opinion.healthy


class RemoteCounts:
    """Where counts of DNS go (:class:`watchducks.nameserver.counts.CountSink`)."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def store(self, time: int, rows: Sequence[Counted], token: str) -> None:
        await self._line.ask("counts", time, [list(row) for row in rows], token)
