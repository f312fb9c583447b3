"""Zones: what is derived from the registered sites, and found again by the name asked for."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from twisted.logger import Logger
from twisted.names import dns

from watchducks.model.changes import Changes
from watchducks.model.origins import Address
from watchducks.nameserver.records import (
    RRset,
    is_below,
    mailbox_name,
    suffix_offsets,
    wire_name,
)

# SOA timers (RIPE-203's recommendation). No secondary reads them from us yet: every name server
# follows the registry, not another name server.
SOA_REFRESH_SECONDS: Final = 86_400
SOA_RETRY_SECONDS: Final = 7_200
SOA_EXPIRE_SECONDS: Final = 3_600_000
# For NS, SOA and our own servers' addresses. An hour: they change with a move of a server, which
# is announced days ahead, and an owner who leaves us is not held for longer.
INFRASTRUCTURE_TTL_SECONDS: Final = 3_600


class Derived(Enum):
    """A place in a zone whose records are worked out when they are asked for."""

    PROXIED = "the healthy proxies, or the origin"
    START_OF_AUTHORITY = "the SOA with the present serial"


# The records of one owner name, by type. An owner without records is an empty non-terminal.
Node = Mapping[int, RRset | Derived]
# A zone's records by relative owner name; b"" is the apex. Every name between an owner and the
# apex has a node as well, so that "no node" means NXDOMAIN (RFC 8020).
Nodes = Mapping[bytes, Node]

_PROXIED: Final[Node] = {dns.A: Derived.PROXIED, dns.AAAA: Derived.PROXIED}
_WWW: Final = b"\x03www"


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone we answer for.

    :ivar apex: its wire name.
    :ivar revision: the registry's revision in which it last changed; 0 for our own hosts.
    :ivar origin: where visitors go while no proxy is healthy; None if nothing in it is proxied.
    :ivar nodes: its records. Most zones hold the same ones and share one mapping, which is what
        makes 100,000 zones cost some 30 MB instead of several hundred.
    """

    apex: bytes
    revision: int
    origin: Address | None
    nodes: Nodes


class ZoneTable:
    """The zones of the registered sites and the hosts of our own name servers.

    Lives on the reactor's thread; :meth:`apply` is what a ``SiteFeed`` calls.

    :ivar revision: grows with each change here, so that a cache of answers knows when to forget.
    """

    _log = Logger()

    def __init__(
        self, names: Sequence[str], addresses: Sequence[Address], *, ttl: int, sender: str
    ) -> None:
        """
        :param names: the name servers' host names, at least one; the first is every SOA's MNAME.
        :param addresses: their addresses, see :func:`host_addresses`; may be empty.
        :param ttl: seconds for A and AAAA of proxied names, and for negative answers.
        :param sender: the mail address whose mailbox the SOA names.
        :raises ValueError: no name, or one that is not a name.
        """
        if not names:
            raise ValueError("a name server needs a name")
        self.ttl = ttl
        self.revision = 0
        servers = [wire_name(name) for name in names]
        self._mailboxes = servers[0] + mailbox_name(sender)
        self._ns = RRset(dns.NS, INFRASTRUCTURE_TTL_SECONDS, tuple(dict.fromkeys(servers)))
        self._hosts = {
            server: _host_node(found)
            for server, found in host_addresses(servers, addresses).items()
        }
        self._apex: Node = {
            dns.SOA: Derived.START_OF_AUTHORITY,
            dns.NS: self._ns,
        }
        self._site_nodes: Nodes = self._nodes({b"": _PROXIED, _WWW: _PROXIED})
        self._zones: dict[bytes, Zone] = {}
        # Each of our own hosts is also a zone of its own: we can vouch for that name and for
        # nothing beside it. A registered zone around it takes the host in instead.
        self._host_zones = {
            server: Zone(server, 0, None, self._nodes({b"": node}))
            for server, node in self._hosts.items()
        }

    def __len__(self) -> int:
        return len(self._zones)

    def apply(self, changes: Changes) -> None:
        """Take over what changed. A site whose zone is not a name is logged and left out."""
        for removed in changes.removed:
            self._remove(removed)
        for site in changes.sites:
            try:
                apex = wire_name(site.zone)
            except ValueError as error:  # one bad row must not stop the zones behind it
                self._log.error(
                    "zone {zone} is left out: {error}", zone=site.zone, error=str(error)
                )
                continue
            self._zones[apex] = Zone(
                apex, site.revision, site.origin.address, self._nodes_of_site(apex)
            )
        if changes.sites or changes.removed:
            self.revision += 1

    def _remove(self, zone: str) -> None:
        try:
            apex = wire_name(zone)
        except ValueError:
            return  # it was never taken in
        self._zones.pop(apex, None)

    def find(self, name: bytes) -> tuple[Zone, bytes] | None:
        """Return the closest zone around ``name`` (lower-case wire name) and the relative name.

        One dictionary look-up a label; None outside our zones.
        """
        for zones in (self._zones, self._host_zones):
            for offset in suffix_offsets(name):
                zone = zones.get(name[offset:])
                if zone is not None:
                    return zone, name[:offset]
        return None

    def start_of_authority(self, zone: Zone, verdict_revision: int) -> RRset:
        """Return the SOA of ``zone``.

        The serial is the sum of two revisions that never shrink, so it grows with each change of
        either (RFC 1982 arithmetic covers the wrap). The minimum is the TTL of proxied names: an
        "AAAA: none" must be forgotten as fast as an address when a failover changes it.
        """
        numbers = struct.pack(
            "!5L",
            (zone.revision + verdict_revision) & 0xFFFFFFFF,
            SOA_REFRESH_SECONDS,
            SOA_RETRY_SECONDS,
            SOA_EXPIRE_SECONDS,
            self.ttl,
        )
        return RRset(dns.SOA, INFRASTRUCTURE_TTL_SECONDS, (self._mailboxes + numbers,))

    def glue(self, zone: Zone) -> list[tuple[bytes, RRset]]:
        """Return the addresses of those of our name servers that are within ``zone``."""
        return [
            (server, rrset)
            for server, node in self._hosts.items()
            if is_below(server, zone.apex)
            for rrset in node.values()
        ]

    def _nodes_of_site(self, apex: bytes) -> Nodes:
        inside: dict[bytes, Node] = {
            server[: len(server) - len(apex)]: node
            for server, node in self._hosts.items()
            if is_below(server, apex)
        }
        if not inside:
            return self._site_nodes
        # Our own host's address wins over "proxied": without it nobody would find the server.
        return self._nodes({b"": _PROXIED, _WWW: _PROXIED, **inside})

    def _nodes(self, owners: Mapping[bytes, Node]) -> Nodes:
        """Return ``owners`` with the apex's SOA and NS and with every empty non-terminal."""
        nodes: dict[bytes, Node] = {}
        for owner, node in owners.items():
            nodes[owner] = node
            for offset in suffix_offsets(owner + b"\0"):
                nodes.setdefault(owner[offset:], {})
        nodes[b""] = {**self._apex, **nodes[b""]}
        return nodes


def _host_node(addresses: Sequence[Address]) -> dict[int, RRset]:
    return {
        type_: RRset(type_, INFRASTRUCTURE_TTL_SECONDS, packed)
        for type_, version in ((dns.A, 4), (dns.AAAA, 6))
        if (packed := tuple(item.packed for item in addresses if item.version == version))
    }


def host_addresses(
    servers: Sequence[bytes], addresses: Sequence[Address]
) -> dict[bytes, list[Address]]:
    """Deal ``addresses`` out to ``servers``: in each family the first to the first, and so on.

    So two names with two IPv4 and two IPv6 addresses get one of each. A server left without any
    gets the first address: one machine may carry every name.
    """
    dealt: dict[bytes, list[Address]] = {server: [] for server in servers}
    for version in (4, 6):
        family = [address for address in addresses if address.version == version]
        for index, address in enumerate(family):
            hand = dealt[servers[index % len(servers)]]
            if address not in hand:
                hand.append(address)
    for hand in dealt.values():
        if not hand:
            hand.extend(addresses[:1])
    return dealt
