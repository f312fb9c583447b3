"""Whether each site's origin answers: asked now and then, only to tell its owner.

Nothing is decided by it: when an origin is down, leading its visitors round us would not help.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
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
from watchducks.model.changes import Changes
from watchducks.model.origins import Origin
from watchducks.model.sites import Site

# How often an origin is asked, as long as there are few enough of them.
ROUND_SECONDS: Final = 60.0
# An origin under load may take long; what it takes beyond this a visitor would not wait for.
TIMEOUT_SECONDS: Final = 10.0
# Probes begun in a second, spread evenly: 3,000 sites are asked each minute, 100,000 each half
# hour. More would be a load of its own, on us and on a host with many origins.
PROBES_PER_SECOND: Final = 50
_PROBES_PER_TURN: Final = 5
# Under way at once. When many origins are away each probe lasts for its time limit, and it is this
# that bounds what they hold; the round then takes longer.
MAX_PROBES: Final = 100


@dataclass(frozen=True, slots=True)
class OriginReport:
    """What came of the last probe of one site's origin.

    :ivar answers: whether it answered with anything but a server error.
    :ivar since: when that last changed, POSIX seconds.
    :ivar reason: in a few words, for people.
    :ivar asked: when it was last asked, POSIX seconds.
    """

    answers: bool
    since: float
    reason: str
    asked: float


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
        scheme, port = site.origin.endpoint("http")
        agent = Agent.usingEndpointFactory(
            self._reactor, _To(site.origin, self._reactor), pool=quiet_pool(self._reactor)
        )
        probe = HttpProbe(
            TIMEOUT_SECONDS,
            reactor=self._reactor,
            agent=agent,
            method="HEAD",
            accepted=lambda status: status < 500,
        )
        await probe(f"{scheme}://{site.domain}:{port}/")


class Origins:
    """A Part: asks each site's origin in turn. :meth:`apply` is what a ``SiteFeed`` calls.

    What it holds is bounded by the number of sites.
    """

    _log = Logger()

    def __init__(self, *, reactor: Any, probe: OriginProbe | None = None) -> None:
        self._clock = reactor
        self._probe = probe or HeadProbe(reactor=reactor)
        self._sites: dict[int, Site] = {}
        self._zones: dict[str, int] = {}
        self._reports: dict[int, OriginReport] = {}
        # Those still to be asked in this round.
        self._waiting: list[int] = []
        self._round_began = 0.0
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
            self._forget(self._zones.pop(zone, None))
        for site in changes.sites:
            before = self._zones.get(site.zone)
            if before != site.id:
                self._forget(before)
            self._zones[site.zone] = site.id
            known = self._sites.get(site.id)
            self._sites[site.id] = site
            if known is None or known.origin != site.origin:
                self._reports.pop(site.id, None)
                self._waiting.append(site.id)

    def _forget(self, site_id: int | None) -> None:
        if site_id is not None:
            self._sites.pop(site_id, None)
            self._reports.pop(site_id, None)

    async def start(self) -> None:
        """Begin with the sites known so far: they wait already."""
        self._round_began = self._clock.seconds()
        self._turns.start()

    async def stop(self) -> None:
        """End every probe."""
        await self._turns.stop()
        await self._tasks.stop()

    async def _turn(self) -> None:
        now = self._clock.seconds()
        if not self._waiting and now - self._round_began >= ROUND_SECONDS:
            self._round_began = now
            self._waiting = list(self._sites)
        for _ in range(min(_PROBES_PER_TURN, MAX_PROBES - len(self._asking), len(self._waiting))):
            site = self._sites.get(self._waiting.pop())
            if site is not None and site.id not in self._asking:
                self._asking.add(site.id)
                self._tasks.start(self._ask(site), f"probe of the origin of {site.name}")

    async def _ask(self, site: Site) -> None:
        reason, answers = "answers", True
        try:
            await self._probe(site)
        except CancelledError:
            raise
        except ProbeFailed as failed:
            reason, answers = str(failed), False
        finally:
            self._asking.discard(site.id)
        now = self._clock.seconds()
        present = self._sites.get(site.id)
        if present is None or present.origin != site.origin:
            return  # it has another one now
        before = self._reports.get(site.id)
        if before is not None and before.answers == answers:
            self._reports[site.id] = replace(before, reason=reason, asked=now)
        else:
            self._reports[site.id] = OriginReport(answers, now, reason, now)
