"""Nodes: a zone's records by owner, in the form in which questions find them. Pure.

What an owner's :class:`~watchducks.model.zones.ZoneContents` become:

===============================  ===================================================================
in the contents                  in the nodes
===============================  ===================================================================
a record                         in its owner's node, with the others of its type
a proxied host                   A and AAAA are worked out; its own A, AAAA, CNAME, NS, HTTPS and
                                 ALIAS are left out, the rest is kept
one of our own name servers      our addresses, in place of the same
ALIAS                            A and AAAA are the target's addresses, where it has none of its own
NS below the apex                a zone cut: the node keeps NS and DS
A, AAAA at a cut or below it     glue, which only referrals give away
anything else below a cut        left out: it is the delegated zone's
names between owner and apex     empty nodes, so that "no node" means NXDOMAIN (RFC 8020)
SOA, and NS of the apex          left out: ours are answered
===============================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.model.zones import ALIAS, APEX, DEFAULT_CONTENTS, Record, ZoneContents
from watchducks.nameserver.records import RRset, suffix_offsets, wire_name

# RFC 4034 and 9460, and not among Twisted's numbers.
DS: Final = 43
HTTPS: Final = 65


class Derived(Enum):
    """Records that are worked out when they are asked for."""

    PROXIED = "the healthy proxies, or the origin"
    START_OF_AUTHORITY = "the SOA with the present serial"


class Alias(NamedTuple):
    """A and AAAA that are those of another name. :ivar target: lower-case wire name."""

    target: bytes


# The records of one owner name, by type. An owner without records is an empty non-terminal.
Node = Mapping[int, RRset | Derived | Alias]


class Nodes(NamedTuple):
    """A zone's records.

    :ivar owners: the nodes by relative owner name; b"" is the apex. One with NS is a zone cut,
        unless it is the apex.
    :ivar glue: A and AAAA at cuts and below them, by relative owner name.
    """

    owners: Mapping[bytes, Node]
    glue: Mapping[bytes, Node]


EMPTY: Final[Node] = {}
PROXIED: Final[Node] = {dns.A: Derived.PROXIED, dns.AAAA: Derived.PROXIED}
_ADDRESS_TYPES: Final = (dns.A, dns.AAAA)
# Beside one of these there can be no addresses of ours; an HTTPS record has the origin's addresses,
# port or keys in it, or another name, and browsers would follow it past us.
_DISPLACED: Final = (dns.A, dns.AAAA, dns.CNAME, dns.NS, HTTPS)
_AT_A_CUT: Final = (dns.NS, DS)


def build_nodes(contents: ZoneContents, apex: Node, own_hosts: Mapping[bytes, Node]) -> Nodes:
    """Return the nodes of a zone that holds ``contents``.

    :param apex: the SOA and NS of every zone of ours.
    :param own_hosts: those of our own name servers that are in the zone, by relative name.
    :raises ValueError: a proxied host is not a name.
    """
    owners: dict[bytes, dict[int, RRset | Derived | Alias]] = {b"": {}}
    for rrset_owner, rrset in _rrsets(contents.records):
        owners.setdefault(rrset_owner, {})[rrset.type] = rrset
    for node in owners.values():
        target = node.pop(ALIAS, None)
        if isinstance(target, RRset):
            for type_ in _ADDRESS_TYPES:
                node.setdefault(type_, Alias(target.rdatas[0]))
    for host in contents.proxied:
        _displace(owners, b"" if host == APEX else wire_name(host)[:-1], PROXIED)
    # Our own host's address wins over "proxied": without it nobody would find the server.
    for owner, addresses in own_hosts.items():
        _displace(owners, owner, addresses)
    owners[b""].update(apex)
    glue = _cut(owners)
    return Nodes(_shared(owners), glue)


def default_nodes(apex: Node) -> Nodes:
    """Return what every zone holds whose owner chose nothing and none of our hosts is in."""
    return build_nodes(DEFAULT_CONTENTS, apex, {})


def _rrsets(records: tuple[Record, ...]) -> list[tuple[bytes, RRset]]:
    """Gather the records of one owner and type; their TTL is the lowest (RFC 2181 section 5.2)."""
    gathered: dict[tuple[bytes, int], tuple[int, list[bytes]]] = {}
    for owner, type_, ttl, rdata in records:
        if type_ == dns.SOA:
            continue
        lowest, rdatas = gathered.get((owner, type_), (ttl, []))
        rdatas.append(rdata)
        gathered[owner, type_] = (min(lowest, ttl), rdatas)
    return [
        (owner, RRset(type_, ttl, tuple(rdatas)))
        for (owner, type_), (ttl, rdatas) in gathered.items()
    ]


def _displace(
    owners: dict[bytes, dict[int, RRset | Derived | Alias]], owner: bytes, node: Node
) -> None:
    held = owners.setdefault(owner, {})
    for type_ in _DISPLACED:
        held.pop(type_, None)
    held.update(node)


def _cut(owners: dict[bytes, dict[int, RRset | Derived | Alias]]) -> dict[bytes, Node]:
    """Take out what is below a zone cut, or at one and not the parent's; return the glue in it."""
    cuts = {owner for owner, node in owners.items() if owner and dns.NS in node}
    glue: dict[bytes, Node] = {}
    if not cuts:
        return glue
    for owner in list(owners):
        above = [owner[offset:] for offset in suffix_offsets(owner + b"\0")]
        if cuts.isdisjoint(above):
            continue
        node = owners.pop(owner)
        addresses = {type_: node[type_] for type_ in _ADDRESS_TYPES if type_ in node}
        if addresses:
            glue[owner] = addresses
        if cuts.isdisjoint(above[1:]):
            owners[owner] = {type_: node[type_] for type_ in _AT_A_CUT if type_ in node}
    return glue


def _shared(owners: Mapping[bytes, Node]) -> dict[bytes, Node]:
    """Add the empty non-terminals, and let equal nodes that many zones have be one object."""
    nodes: dict[bytes, Node] = {}
    for owner, node in owners.items():
        nodes[owner] = PROXIED if node == PROXIED else node
        for offset in suffix_offsets(owner + b"\0"):
            nodes.setdefault(owner[offset:], EMPTY)
    return nodes
