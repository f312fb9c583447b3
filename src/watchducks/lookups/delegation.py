"""Whether a zone is delegated to us, and whose it is: what is seen of it from outside."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Protocol

import dns.exception
import dns.name
import dns.rdatatype
from dns.name import Name
from dns.rdtypes.ANY.TXT import TXT
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.lookups.client import LookupFailed, Server
from watchducks.lookups.message import Response
from watchducks.lookups.servers import Delegation, Zone
from watchducks.lookups.together import within
from watchducks.model.cutover import CHALLENGE_LABEL, Look
from watchducks.model.scans import NameServer

# Finding the parent and asking it takes 20 s at worst (servers.FIND_SECONDS, twice); with the
# question for the challenge a look stays below what the registry leases it for.
LOOK_SECONDS: Final = 40.0
# Servers of the zone that are asked for the challenge, until one answers.
MAX_ASKED: Final = 4


class Directory(Protocol):
    """Who answers for zones: :class:`watchducks.lookups.servers.Directory`.

    Every method but :meth:`at` may raise LookupFailed.
    """

    async def delegation(self, zone: Name) -> Delegation:
        """Return what the parent of ``zone`` says of it."""

    async def zone_of(self, domain: Name) -> Zone:
        """Return the zone in which ``domain`` is, with its servers."""

    def at(self, servers: tuple[NameServer, ...]) -> list[Server]:
        """Return where to ask these servers."""


class Asks(Protocol):
    """Asks one server: :class:`watchducks.lookups.client.Client`."""

    async def ask(self, server: Server, name: Name, type_: int) -> Response:
        """Return its answer. :raises LookupFailed: there is none."""


class Delegations:
    """
    :param own: the names of our name servers.
    """

    _log = Logger()

    def __init__(
        self, directory: Directory, client: Asks, own: Collection[str], *, clock: IReactorTime
    ) -> None:
        self._directory = directory
        self._client = client
        self._own = frozenset(own)
        self._clock = clock

    async def look(self, zone: str, proof: str | None) -> Look:
        """Return what is seen of ``zone`` (A-labels) within :data:`LOOK_SECONDS`.

        :param proof: the challenge to ask for; None: that is not the question.
        """
        try:
            return await within(
                LOOK_SECONDS, self._look(zone, proof), f"looking at {zone}", clock=self._clock
            )
        except (LookupFailed, dns.exception.DNSException) as error:
            self._log.debug("{zone} cannot be looked at: {error}", zone=zone, error=str(error))
            return Look(None)

    async def _look(self, zone: str, proof: str | None) -> Look:
        apex = dns.name.from_text(zone)
        delegation = await self._directory.delegation(apex)
        proven = proof is not None and await self._is_proven(apex, delegation.names, proof)
        return Look(delegation.names, proven=proven, ds=delegation.ds)

    async def _is_proven(self, apex: Name, names: Collection[str], proof: str) -> bool:
        """Ask those servers that the parent names now: others may have been somebody else's. Our
        own are no witnesses."""
        try:
            found = await self._directory.zone_of(apex)
        except LookupFailed:
            return False
        present = tuple(
            server
            for server in found.servers
            if server.name in names and server.name not in self._own
        )
        if found.name != apex:
            return False
        owner = dns.name.from_text(CHALLENGE_LABEL, apex)
        for server in self._directory.at(present)[:MAX_ASKED]:
            try:
                response = await self._client.ask(server, owner, dns.rdatatype.TXT)
            except LookupFailed:
                continue
            return response.authoritative and any(
                record.owner == owner
                and isinstance(record.rdata, TXT)
                and b"".join(record.rdata.strings) == proof.encode()
                for record in response.answer
            )
        return False
