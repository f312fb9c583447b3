"""Whether each site's origin answers: asked now and then, only to tell its owner.

Nothing is decided by it: when an origin is down, leading its visitors round us would not help.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from watchducks.background import Repeating, Tasks
from watchducks.health.probe import AnyCertificate, HttpProbe, ProbeFailed, quiet_pool
from watchducks.health.rounds import Rounds
from watchducks.model.changes import Changes
from watchducks.model.origins import Origin
from watchducks.model.scans import Note
from watchducks.model.sites import Site
from watchducks.model.verdicts import OriginReport

# An origin under load may take long; what it takes beyond this a visitor would not wait for.
TIMEOUT_SECONDS: Final = 10.0
# Probes begun in a second, spread evenly: 3,000 sites are asked each minute, 100,000 each half
# hour. More would be a load of its own, on us and on a host with many origins.
PROBES_PER_SECOND: Final = 50
_PROBES_PER_TURN: Final = 5
# Under way at once. When many origins are away each probe lasts for its time limit, and it is this
# that bounds what they hold; the round then takes longer.
MAX_PROBES: Final = 100


# Asks one site's origin once. :raises ProbeFailed:
OriginProbe = Callable[[Site], Awaitable[None]]


@implementer(IAgentEndpointFactory)
class _To:
    """Connects to one origin, whatever host the URL names: that one is for Host and SNI."""

    def __init__(self, origin: Origin, reactor: Any) -> None:
        self._origin = origin
        self._reactor = reactor

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        endpoint: IStreamClientEndpoint = HostnameEndpoint(
            self._reactor, str(self._origin.address), uri.port, TIMEOUT_SECONDS
        )
        if uri.scheme == b"https":
            # The visitor's path judges certificates, and says so in each row; this does not.
            endpoint = wrapClientTLS(AnyCertificate(uri.host), endpoint)
        return endpoint


class HeadProbe:
    """``HEAD /`` for the site's domain. Any status below 500 is an answer."""

    def __init__(self, *, reactor: Any) -> None:
        self._reactor = reactor

    async def __call__(self, site: Site) -> None:
        """See :data:`OriginProbe`."""
        _ = await self.status(site.origin, site.domain)

    async def status(self, origin: Origin, host: str) -> int:
        """Return what an origin answers for a host. :raises ProbeFailed:"""
        scheme, port = origin.endpoint("http")
        agent = Agent.usingEndpointFactory(
            self._reactor, _To(origin, self._reactor), pool=quiet_pool(self._reactor)
        )
        probe = HttpProbe(
            TIMEOUT_SECONDS,
            reactor=self._reactor,
            agent=agent,
            method="HEAD",
            accepted=lambda status: status < 500,
        )
        return await probe.status(f"{scheme}://{host}:{port}/")


class Origins:
    """A Part: asks each site's origin in turn. :meth:`apply` is what a ``SiteFeed`` calls.

    What it holds is bounded by the number of sites.

    :param accepts: whether a site could be registered with this origin today; one that was
        registered under other settings is not asked.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        reactor: Any,
        accepts: Callable[[Origin], bool],
        probe: OriginProbe | None = None,
    ) -> None:
        self._clock = reactor
        self._accepts = accepts
        self._probe = probe or HeadProbe(reactor=reactor)
        self._sites: dict[int, Site] = {}
        self._zones: dict[str, int] = {}
        self._rounds = Rounds()
        self._reports: dict[int, OriginReport] = {}
        self._asking: set[int] = set()
        self._tasks = Tasks(self._log)
        self._turns = Repeating(
            self._turn,
            _PROBES_PER_TURN / PROBES_PER_SECOND,
            clock=reactor,
            log=self._log,
            name="asking the origins",
        )

    def report(self, site_id: int) -> OriginReport | None:
        """Return what is known of a site's origin; None: it was not asked yet."""
        return self._reports.get(site_id)

    def apply(self, changes: Changes) -> None:
        """Take over what changed."""
        for zone in changes.removed:
            self._forget(self._zones.get(zone))
        for site in changes.sites:
            known = self._sites.get(self._zones.get(site.zone, 0))
            if known is not None and (known.id, known.origin) == (site.id, site.origin):
                self._sites[site.id] = site
                continue
            if known is not None:
                self._forget(known.id)
            if site.origin.address is None:
                # Its name has given no address that may be asked; the site comes again with one.
                now = self._clock.seconds()
                self._remember(site)
                self._reports[site.id] = OriginReport(_no_address(site.origin), now, now)
            elif self._accepts(site.origin):
                self._remember(site)
                self._rounds.add(site.id, site.origin.address, self._clock.seconds())

    def _remember(self, site: Site) -> None:
        self._zones[site.zone] = site.id
        self._sites[site.id] = site

    def _forget(self, site_id: int | None) -> None:
        site = None if site_id is None else self._sites.pop(site_id, None)
        if site is not None:
            del self._zones[site.zone]
            self._reports.pop(site.id, None)
            if site.origin.address is not None:
                self._rounds.remove(site.id, site.origin.address)

    async def start(self) -> None:
        """Begin with the sites known so far: they wait already."""
        self._turns.start()

    async def stop(self) -> None:
        """End every probe."""
        await self._turns.stop()
        await self._tasks.stop()

    async def _turn(self) -> None:
        for _ in range(min(_PROBES_PER_TURN, MAX_PROBES - len(self._asking))):
            site_id = self._rounds.next(self._clock.seconds())
            if site_id is None:
                return
            if site_id not in self._asking:
                site = self._sites[site_id]
                self._asking.add(site_id)
                self._tasks.start(self._ask(site), f"probe of the origin of {site.name}")

    async def _ask(self, site: Site) -> None:
        failure = None
        try:
            await self._probe(site)
        except CancelledError:
            raise
        except ProbeFailed as failed:
            failure = Note("origin", failed.template, failed.parameters)
        finally:
            self._asking.discard(site.id)
        now = self._clock.seconds()
        present = self._sites.get(site.id)
        if present is None or present.origin != site.origin:
            return  # it has another one now
        report = OriginReport(failure, since=now, asked=now)
        before = self._reports.get(site.id)
        if before is not None and before.answers == report.answers:
            report = replace(report, since=before.since)
        self._reports[site.id] = report


def _no_address(origin: Origin) -> Note:
    return Note(
        "origin-name", "{name} has no address that visitors can reach.", {"name": origin.name}
    )
