"""What the console needs of the other parts, so that its tests can give it fakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from watchducks.analytics.periods import Period
from watchducks.analytics.results import (
    Dns,
    Failover,
    Latency,
    PathTraffic,
    ReferrerTraffic,
    Status,
    Traffic,
    Visitors,
)
from watchducks.model.cutover import SiteCutover
from watchducks.model.scans import KeptScan
from watchducks.model.sites import Registration, Site
from watchducks.model.verdicts import OriginReport
from watchducks.model.zones import ZoneContents
from watchducks.registry.keys import KeyStep
from watchducks.registry.registration import SiteChanges


class Sites(Protocol):
    """The registered sites: :class:`watchducks.registry.registry.Registry`, which says more.

    Every method may raise :class:`watchducks.stores.interfaces.StoreUnavailable`.
    """

    async def register(self, registration: Registration) -> tuple[Site, str]:
        """Add a site; return it with its owner's token. :raises Conflict: it is taken."""

    async def update(self, name: str, changes: SiteChanges) -> Site:
        """Change a site. :raises SiteNotFound: there is none."""

    async def step_keys(self, name: str, step: KeyStep) -> Site:
        """Take one step of the keys of its zone. :raises InvalidFields: it is not the time."""

    async def keep_contents(
        self, name: str, contents: ZoneContents, revision: int | None = None
    ) -> Site:
        """Replace what a site's zone holds. :raises SiteNotFound: there is none.
        :raises RevisionChanged: the site has another revision. :raises Conflict: a host is taken.
        """

    async def remove(self, name: str) -> None:
        """Forget a site. :raises SiteNotFound: there is none."""

    async def site(self, name: str) -> Site | None:
        """Return the site of that name, or None."""

    async def cutover(self, site_id: int) -> SiteCutover | None:
        """Return how far a site's cutover has come; None: there is none of this id."""

    async def look_soon(self, name: str) -> bool:
        """Have its delegation looked at within seconds; False: it was just now."""

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site that serves ``host``, or None."""

    async def sites(
        self, cohort: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[Site]:
        """Return a page of sites by name; ``after``: the last name of the page before."""

    async def cohorts(self) -> list[tuple[str, int]]:
        """Return the cohorts that have sites, each with how many."""

    async def authorise(self, site_name: str, token: str) -> bool:
        """Return whether ``token`` may change the site."""


class Scans(Protocol):
    """What zones held before they were ours: :class:`watchducks.lookups.keeper.ScanKeeper`."""

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return the scan of a site; None: it is not made yet. :raises StoreUnavailable:"""

    def request(self, site_id: int, zone: str) -> None:
        """Scan a site's zone again, soon. :raises Overloaded: too many wait already."""


class OriginHealth(Protocol):
    """Whether sites' origins answer: :class:`watchducks.health.origins.Origins`."""

    def report(self, site_id: int) -> OriginReport | None:
        """Return what is known of a site's origin; None: it was not asked yet. Cheap."""


class Readiness(Protocol):
    """Whether this process can do its work; offered by the appliance."""

    def checks(self) -> Mapping[str, bool]:
        """Return part -> whether it can work now. Cheap: asked by probers every few seconds."""


class SiteFigures(Protocol):
    """What was measured: :class:`watchducks.analytics.cached.CachedAnalytics`, which says more.

    Every method may raise StoreUnavailable or StoreRefused (:mod:`watchducks.stores.interfaces`).
    An unknown site has no figures, which is no error.
    """

    @property
    def is_stale(self) -> bool:
        """Whether the log store is away, and figures are the last ones."""

    async def traffic(self, site_id: int, period: Period) -> Traffic:
        """Return requests over time."""

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """Return when visitors were led to the origins, and so not observed."""

    async def latency(self, site_id: int, period: Period) -> Latency:
        """Return response times over time."""

    async def status(self, site_id: int, period: Period) -> Status:
        """Return answers by class over time."""

    async def visitors(self, site_id: int, period: Period) -> Visitors:
        """Return different visitors over time."""

    async def paths(self, site_id: int, period: Period, limit: int = 10) -> tuple[PathTraffic, ...]:
        """Return the paths with the most requests."""

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10
    ) -> tuple[ReferrerTraffic, ...]:
        """Return the hosts whose pages led here."""

    async def dns(self, zone: str, period: Period) -> Dns:
        """Return the DNS questions about a zone."""

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        """Return site id -> requests; silent sites are left out."""
