"""Figures: what analytics measured, as the documents that the API sends and the pages show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime

from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period, period
from watchducks.analytics.results import (
    Dns,
    Failover,
    Latency,
    Lost,
    Status,
    Traffic,
    Visitors,
)
from watchducks.console.interfaces import SiteFigures

DEFAULT_RANGE: Final = "day"
# The most that analytics lists.
MOST_PATHS: Final = 100
# The kinds of figures that the API knows, by the last part of their address.
KINDS: Final = ("traffic", "latency", "status", "visitors", "paths", "referrers")


@dataclass(frozen=True, slots=True)
class SitePage:
    """All that a site's page shows of one period."""

    traffic: Traffic
    latency: Latency
    status: Status
    visitors: Visitors
    failovers: Sequence[Failover]
    lost: Sequence[Lost]


class Figures:
    """Asks analytics what pages and API want to know.

    Every method may raise StoreUnavailable or StoreRefused.

    :param clock: tells what "the last 24 hours" are.
    """

    def __init__(self, analytics: SiteFigures, *, clock: IReactorTime) -> None:
        self._analytics = analytics
        self._clock = clock

    def period(
        self,
        range_: str | None,
        from_: str | None = None,
        to: str | None = None,
        zone: str | None = None,
    ) -> Period:
        """Return the period asked for. :raises InvalidFields: there is no such one."""
        return period(range_ or DEFAULT_RANGE, self._clock.seconds(), from_, to, zone)

    async def site_page(self, site_id: int, chosen: Period, filters: Filters = NONE) -> SitePage:
        """Return what a site's page shows."""
        # One after the other: the log store's threads are few, and the proxy's rows go first.
        return SitePage(
            await self._analytics.traffic(site_id, chosen, filters),
            await self._analytics.latency(site_id, chosen, filters),
            await self._analytics.status(site_id, chosen, filters),
            await self._analytics.visitors(site_id, chosen, filters),
            await self._analytics.failovers(chosen),
            await self._analytics.lost(site_id, chosen),
        )

    async def dns(self, zone: str, chosen: Period) -> Dns:
        """Return the DNS questions about a zone."""
        return await self._analytics.dns(zone, chosen)

    async def visitors(self, site_id: int, chosen: Period) -> Visitors:
        """Return different visitors over time."""
        return await self._analytics.visitors(site_id, chosen)

    async def dns_document(self, zone: str, chosen: Period) -> dict[str, Any]:
        """Return the JSON document of the DNS questions about a zone."""
        dns = asdict(await self._analytics.dns(zone, chosen))
        return {**self.head(chosen), **dns}

    async def document(
        self, kind: str, site_id: int, chosen: Period, filters: Filters = NONE
    ) -> dict[str, Any]:
        """Return the JSON document of one kind of figures, one of :data:`KINDS`.

        ``time`` of a point is the beginning of its bucket in POSIX seconds.
        """
        head = self.head(chosen)
        if kind == "paths":
            paths = await self._analytics.paths(site_id, chosen, MOST_PATHS, filters)
            return {**head, "paths": [asdict(path) for path in paths]}
        if kind == "referrers":
            hosts = await self._analytics.referrers(site_id, chosen, MOST_PATHS, filters)
            return {**head, "referrers": [asdict(host) for host in hosts]}
        if kind == "traffic":
            totals = asdict(await self._analytics.traffic(site_id, chosen, filters))
            failovers = [asdict(each) for each in await self._analytics.failovers(chosen)]
            lost = [asdict(each) for each in await self._analytics.lost(site_id, chosen)]
            return {
                **head,
                "points": totals.pop("points"),
                "totals": totals,
                "failovers": failovers,
                "lost": lost,
            }
        if kind == "latency":
            return {**head, **asdict(await self._analytics.latency(site_id, chosen, filters))}
        if kind == "status":
            status = asdict(await self._analytics.status(site_id, chosen, filters))
            codes = {str(code["status"]): code["count"] for code in status.pop("codes")}
            return {**head, **status, "codes": codes}
        visitors = await self._analytics.visitors(site_id, chosen, filters)
        return {
            **head,
            "points": [asdict(point) for point in visitors.points],
            "total": visitors.visitors,
            "total_before": visitors.visitors_before,
            "total_change": visitors.visitors_change,
        }

    def head(self, chosen: Period) -> dict[str, Any]:
        """Return what every document of figures begins with."""
        return {
            "from": rfc3339(chosen.start),
            "to": rfc3339(chosen.end),
            "bucket_seconds": chosen.bucket,
            "stale": self._analytics.is_stale,
        }


def rfc3339(posix_seconds: float) -> str:
    """Return a moment as the API writes it: 2026-11-22T00:00:00Z."""
    return datetime.fromtimestamp(posix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
