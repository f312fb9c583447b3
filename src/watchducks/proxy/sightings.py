"""What a proxy sees of sites that are on their way: their first requests and certificates.

Only the proxies see them, and only the registry tells everybody: so what is seen is reported to it,
once or a few times, which is all the same to it.
"""

from __future__ import annotations

from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules, awaits_certificate, awaits_request
from watchducks.model.rows import Row, RowSink
from watchducks.model.sites import Site
from watchducks.stores.interfaces import StoreUnavailable

# How long a new certificate, or the first request, may wait to be reported.
INTERVAL_SECONDS: Final = 2.0
# Writes of one turn: after an upgrade thousands of sites may be seen within seconds, and each is a
# transaction of the registry.
MAX_REPORTS: Final = 50


class Steps(Protocol):
    """Whom it is reported to: :class:`watchducks.registry.registry.Registry`.

    Both may raise StoreUnavailable, and are harmless when the step was taken already.
    """

    async def saw_certificate(self, site_id: int) -> Site | None:
        """A proxy holds a certificate for the site."""

    async def saw_request(self, site_id: int) -> Site | None:
        """A visitor's request was seen."""


class Certificates(Protocol):
    """What certificates there are: :class:`watchducks.certificates.store.CertificateStore`."""

    def covers(self, server_name: str, host: str) -> bool:
        """Return whether the certificate for ``server_name`` is one for ``host``, too."""


class Sightings:
    """A Part that rows go through. Follow the registry's feed with :meth:`apply`."""

    _log = Logger()

    def __init__(
        self,
        sink: RowSink,
        steps: Steps,
        certificates: Certificates,
        *,
        rules: CutoverRules,
        clock: IReactorTime,
    ) -> None:
        self._sink = sink
        self._steps = steps
        self._certificates = certificates
        self._rules = rules
        # The sites whose first request is awaited, and those of whom it was seen meanwhile.
        self._awaited: set[int] = set()
        self._seen: set[int] = set()
        self._uncertified: dict[int, Site] = {}
        self._ids: dict[str, int] = {}
        self._reports = Repeating(
            self._report, INTERVAL_SECONDS, clock=clock, log=self._log, name="reporting sightings"
        )

    def record(self, row: Row) -> None:
        """Pass a row on, and notice the first of a site."""
        self._sink.record(row)
        if row.site_id in self._awaited:
            self._awaited.discard(row.site_id)
            self._seen.add(row.site_id)

    def apply(self, changes: Changes) -> None:
        """Take over which sites are on their way."""
        for zone in changes.removed:
            self._forget(zone)
        for site in changes.sites:
            seen = site.id in self._seen
            self._forget(site.zone)
            if awaits_request(site.state, self._rules):
                self._ids[site.zone] = site.id
                (self._seen if seen else self._awaited).add(site.id)
            if awaits_certificate(site.state, self._rules):
                self._ids[site.zone] = site.id
                self._uncertified[site.id] = site

    def _forget(self, zone: str) -> None:
        site_id = self._ids.pop(zone, None)
        if site_id is not None:
            self._awaited.discard(site_id)
            self._seen.discard(site_id)
            self._uncertified.pop(site_id, None)

    async def start(self) -> None:
        """Begin to report."""
        self._reports.start()

    async def stop(self) -> None:
        """End. What was not reported is seen again after the next start."""
        await self._reports.stop()

    async def _report(self) -> None:
        certified = [
            site.id
            for site in self._uncertified.values()
            if all(self._certificates.covers(host, host) for host in site.hosts)
        ]
        try:
            for site_id in certified[:MAX_REPORTS]:
                await self._steps.saw_certificate(site_id)
                self._uncertified.pop(site_id, None)
            for site_id in list(self._seen)[:MAX_REPORTS]:
                await self._steps.saw_request(site_id)
                self._seen.discard(site_id)
        except StoreUnavailable:  # the feed of the registry says so already
            return
