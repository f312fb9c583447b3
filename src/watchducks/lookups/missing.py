"""The part that asks the old name servers about names that ours lack, and offers what they have."""

from __future__ import annotations

from collections import defaultdict
from typing import Final, Protocol

import dns.name
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.lookups import usual
from watchducks.lookups.asking import Asking
from watchducks.lookups.client import LookupFailed
from watchducks.lookups.found import Collection, owner_of_host
from watchducks.lookups.panel import Asks, Panel
from watchducks.lookups.scan import new_token
from watchducks.lookups.servers import Directory
from watchducks.lookups.together import within
from watchducks.model.scans import KeptScan
from watchducks.model.sites import Site
from watchducks.model.zones import Record
from watchducks.stores.interfaces import StoreUnavailable

# Names asked about in one turn, and how often that is: at most 20 names a minute, some hundred
# questions to all old name servers together, whatever visitors ask us for.
NAMES_A_TURN: Final = 10
INTERVAL_SECONDS: Final = 30.0
# For one zone's names of a turn.
ASK_SECONDS: Final = 8.0


class MissedNames(Protocol):
    """What visitors asked for in vain: :class:`watchducks.nameserver.misses.Misses`."""

    def take(self, limit: int) -> list[tuple[str, str]]:
        """Return pairs of zone and relative name, each name at most once a day."""


class OfferStore(Protocol):
    """The registry: :class:`watchducks.registry.registry.Registry`, which says more.

    Every method may raise StoreUnavailable.
    """

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site with this zone."""

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return its scan, which names the old servers."""

    async def offer(self, site_id: int, found: tuple[Record, ...]) -> None:
        """Offer its owner these records."""


class MissingNames:
    """Asks the name servers that a zone had when its site was registered, while they answer."""

    _log = Logger()

    def __init__(
        self,
        misses: MissedNames,
        store: OfferStore,
        directory: Directory,
        client: Asks,
        *,
        clock: IReactorTime,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._misses = misses
        self._store = store
        self._directory = directory
        self._client = client
        self._clock = clock
        self._repeating = Repeating(
            self._work,
            interval_seconds,
            clock=clock,
            log=self._log,
            name="asking for missing names",
        )

    async def start(self) -> None:
        """Begin to ask, a few names each turn."""
        self._repeating.start()

    async def stop(self) -> None:
        """Cancel what is asked now."""
        await self._repeating.stop()

    async def _work(self) -> None:
        by_zone: dict[str, list[str]] = defaultdict(list)
        for zone, name in self._misses.take(NAMES_A_TURN):
            by_zone[zone].append(name)
        for zone, names in by_zone.items():
            try:
                await self._ask(zone, names)
            except StoreUnavailable:  # these names' turn comes again in a day
                return

    async def _ask(self, zone: str, names: list[str]) -> None:
        site = await self._store.site_for_host(zone)
        kept = None if site is None else await self._store.scan(site.id)
        if site is None or site.zone != zone or kept is None:
            return
        servers = self._directory.at(kept.scan.servers)
        if not servers:
            return
        panel = Panel(servers, dns.name.from_text(kept.scan.served), self._client)
        questions = [(name, _types(name)) for name in names]
        asking = Asking(panel, dns.name.from_text(zone), questions, new_token())
        try:
            await within(ASK_SECONDS, asking.run(), "asking for names", clock=self._clock)
        except LookupFailed as error:
            self._log.info("{zone}: {reason}", zone=zone, reason=str(error))
        collection = Collection(dns.name.from_text(zone))
        collection.add(asking.found())
        offered = missing(site, collection.records())
        if offered:
            self._log.info("{zone}: {count} missing records", zone=zone, count=len(offered))
            await self._store.offer(site.id, offered)


def missing(site: Site, found: tuple[Record, ...]) -> tuple[Record, ...]:
    """Return those of ``found`` that the site's zone lacks.

    A wildcard answers for every name: it was found by the scan, and left out by its owner. What is
    at a name that the zone has is the owner's choice as well.
    """
    have = {record.owner for record in site.contents.records}
    have.update(owner_of_host(host) for host in site.contents.proxied)
    return tuple(r for r in found if r.owner not in have and not r.owner.startswith(b"\1*"))


def _types(name: str) -> tuple[int, ...]:
    return usual.SERVICE_TYPES if "_" in name else usual.HOST_TYPES
