"""Who answers for a domain, and what its parent says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import dns.rcode
import dns.rdatatype
from dns.name import Name
from dns.rdtypes.ANY.NS import NS
from twisted.internet.interfaces import IReactorTime

from watchducks.lookups.client import DNS_PORT, Client, LookupFailed, Server
from watchducks.lookups.message import Found, Response
from watchducks.lookups.resolver import Resolver
from watchducks.lookups.together import attempt_all, within
from watchducks.model.scans import NameServer

# Name servers of a zone that we learn the addresses of. A zone has two to four; the root has 13.
MAX_SERVERS: Final = 13
# And of each of them: one IPv4 and one IPv6 is usual.
MAX_SERVER_ADDRESSES: Final = 4
# Zones between a domain and the root are at most as many as its labels; who nests deeper than this
# has no visitors.
MAX_STEPS: Final = 16
# Servers of the parent that are asked in turn until one of them answers.
MAX_PARENT_SERVERS: Final = 4
# One after another: the zone, its servers' addresses. Each question has a limit of its own, but a
# hostile zone could make a long way of them.
FIND_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone as it is in the DNS now, with its servers; those without an address included."""

    name: Name
    servers: tuple[NameServer, ...]


@dataclass(frozen=True, slots=True)
class Delegation:
    """What the parent's own servers say of a zone.

    :ivar parent: the zone above it.
    :ivar names: its name servers, in lower case without the final dot; none: it is not delegated.
    :ivar ds: its DS records, as zone files write their data; none: it is not signed, for resolvers.
    """

    parent: Name
    names: tuple[str, ...]
    ds: tuple[str, ...]


class Directory:
    """Finds zones and their servers. Every method may raise LookupFailed, and takes at most
    :data:`FIND_SECONDS`, :meth:`delegation` twice as long.

    :param port: where name servers answer, which nobody can choose but a test.
    """

    def __init__(
        self, resolver: Resolver, client: Client, *, clock: IReactorTime, port: int = DNS_PORT
    ) -> None:
        self._resolver = resolver
        self._client = client
        self._clock = clock
        self._port = port

    def at(self, servers: Sequence[NameServer]) -> list[Server]:
        """Return where to ask these servers: the first address of each, then the second ..."""
        most = max((len(server.addresses) for server in servers), default=0)
        return [
            Server(server.addresses[turn], self._port)
            for turn in range(most)
            for server in servers
            if turn < len(server.addresses)
        ]

    async def zone_of(self, domain: Name) -> Zone:
        """Return the zone in which ``domain`` is now: the one of that name, or one above it."""
        return await within(
            FIND_SECONDS,
            self._zone_of(domain),
            f"looking for the name servers of {shown(domain)}",
            clock=self._clock,
        )

    async def delegation(self, zone: Name) -> Delegation:
        """Return what the parent of ``zone`` says of it, asking the parent's servers directly: what
        resolvers remember may be a day old."""
        parent = await self.zone_of(zone.parent())
        return await within(
            FIND_SECONDS,
            self._delegation(zone, parent),
            f"asking the name servers of {shown(parent.name)} about {shown(zone)}",
            clock=self._clock,
        )

    async def _zone_of(self, domain: Name) -> Zone:
        name = domain
        for _ in range(MAX_STEPS):
            response = await self._resolver.ask(name, dns.rdatatype.NS)
            hosts = _name_servers(response.answer, name)
            if hosts:
                return Zone(name, await self._with_addresses(hosts))
            if name == dns.name.root:
                break
            name = _zone_above(response, name)
        raise LookupFailed(f"nobody seems to answer for {shown(domain)}")

    async def _with_addresses(self, hosts: Sequence[Name]) -> tuple[NameServer, ...]:
        hosts = hosts[:MAX_SERVERS]
        found = await attempt_all([self._resolver.addresses(host) for host in hosts])
        return tuple(
            NameServer(
                shown(host),
                () if isinstance(answer, LookupFailed) else answer[0][:MAX_SERVER_ADDRESSES],
            )
            for host, answer in zip(hosts, found, strict=True)
        )

    async def _delegation(self, zone: Name, parent: Zone) -> Delegation:
        reasons = []
        for server in self.at(parent.servers)[:MAX_PARENT_SERVERS]:
            try:
                servers = await self._client.ask(server, zone, dns.rdatatype.NS)
                signers = await self._client.ask(server, zone, dns.rdatatype.DS)
            except LookupFailed as error:
                reasons.append(str(error))
                continue
            names = _name_servers((*servers.answer, *servers.authority), zone)
            if not _tells(signers) or not (names or _tells(servers)):
                reasons.append(f"{server} does not answer for {shown(parent.name)}")
                continue
            ds = [r for r in signers.answer if r.owner == zone and r.type == dns.rdatatype.DS]
            return Delegation(
                parent.name,
                tuple(sorted(map(shown, names))),
                tuple(sorted(record.rdata.to_text() for record in ds)),
            )
        why = "; ".join(reasons) or "none of them has an address"
        raise LookupFailed(f"the name servers of {shown(parent.name)} cannot be asked: {why}")


def shown(name: Name) -> str:
    """Return a name as people write it: in lower case, without the final dot."""
    return name.to_text(omit_final_dot=True).lower()


def _name_servers(records: Sequence[Found], zone: Name) -> list[Name]:
    found = [r.rdata.target for r in records if r.owner == zone and isinstance(r.rdata, NS)]
    return list(dict.fromkeys(found))


def _zone_above(response: Response, name: Name) -> Name:
    """Return the zone that an answer without NS names by its SOA, or else the name one up."""
    for record in response.authority:
        if record.type == dns.rdatatype.SOA and record.owner != name:
            if name.is_subdomain(record.owner):
                return record.owner
            break
    return name.parent()


def _tells(response: Response) -> bool:
    """Whether a server that holds the zone answers, be it that there is nothing."""
    return response.authoritative and response.rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
