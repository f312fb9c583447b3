"""What would become of a site: its server is asked, and its DNS looked through, ahead of all else.

On a stranger's word nothing is asked that a registration would refuse: no private address, nor one
of ours, whether it is written down, or what a name or a name server's name leads to.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Literal, Protocol

import dns.name

from watchducks.appliance.house import House
from watchducks.background import together
from watchducks.certificates.failover import CertificateCheck
from watchducks.health.origins import HeadProbe
from watchducks.health.probe import ProbeFailed
from watchducks.lookups.client import LookupFailed
from watchducks.lookups.keeper import Scans
from watchducks.model.origins import Address, Origin, usable
from watchducks.model.prospects import NOWHERE, UNKNOWN, Prospect, Reached
from watchducks.model.scans import Note


class Resolving(Protocol):
    """Finds addresses: :class:`watchducks.lookups.resolver.Resolver`."""

    async def addresses(self, name: dns.name.Name) -> tuple[tuple[Address, ...], int]:
        """Return the addresses of a host. :raises LookupFailed:"""


class Prospects:
    """
    :param asks: asks an origin for a host's page: the status; or raises ProbeFailed.
    :param checks: says what a browser would not accept of an origin's certificate at a port.
    :param usable: those of a name's addresses that a registration would accept.
    """

    def __init__(
        self,
        scans: Scans,
        resolver: Resolving,
        *,
        asks: Callable[[Origin, str], Awaitable[int]],
        checks: Callable[[Origin, str, int], Awaitable[Note | None]],
        usable: Callable[[Iterable[Address]], tuple[Address, ...]],
    ) -> None:
        self._scans = scans
        self._resolver = resolver
        self._asks = asks
        self._checks = checks
        self._usable = usable

    async def look(self, domain: str, zone: str, origin: Origin) -> Prospect:
        """Return what is found now; takes as long as a scan does."""
        looking: list[Coroutine[Any, Any, Any]] = [
            self._scans.scan(zone),
            self._reach(domain, origin),
        ]
        scanned, (reached, nowhere) = await together(looking)
        return Prospect(zone, reached, nowhere, scanned)

    async def _reach(self, domain: str, origin: Origin) -> tuple[tuple[Reached, ...], Note | None]:
        found = origin.addresses
        if origin.name:
            try:
                found, _ = await self._resolver.addresses(dns.name.from_text(origin.name))
            except LookupFailed as error:
                parameters = {"name": origin.name, "reason": str(error)}
                return (), replace(UNKNOWN, parameters=parameters)
        addresses = self._usable(found)
        if not addresses:
            return (), replace(NOWHERE, parameters={"name": str(origin)})
        there = replace(origin, address=addresses[0], others=())
        ways = dict.fromkeys(there.endpoint(scheme) for scheme in ("http", "https"))
        return tuple(await together(self._ask(domain, there, *way) for way in ways)), None

    async def _ask(
        self, domain: str, origin: Origin, scheme: Literal["http", "https"], port: int
    ) -> Reached:
        way = replace(origin, scheme=scheme, port=port)
        try:
            status = await self._asks(way, domain)
        except ProbeFailed as failed:
            return Reached(scheme, port, failure=Note("origin", failed.template, failed.parameters))
        trouble = await self._checks(way, domain, port) if scheme == "https" else None
        return Reached(scheme, port, status, trouble=trouble)


def prospects_of(house: House) -> Prospects:
    """Return what looks with this appliance's look-ups, by its settings."""
    settings, lookups = house.settings, house.lookups()

    def allowed(addresses: Iterable[Address]) -> tuple[Address, ...]:
        return usable(
            addresses,
            own_addresses=settings.own_addresses,
            allow_private=settings.security.allow_private_origins,
        )

    return Prospects(
        lookups.scanner,
        lookups.resolver,
        asks=HeadProbe(reactor=house.reactor).status,
        checks=CertificateCheck(reactor=house.reactor).trouble,
        usable=allowed,
    )
