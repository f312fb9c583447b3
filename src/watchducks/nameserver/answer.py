"""What to answer: pure rules from (zones, verdicts, question) to an answer.

The rules (RFC 1034 section 4.3.2), in the order in which they are tried:

=========================================  ========  ==  =========================================
the question                               rcode     AA  sections
=========================================  ========  ==  =========================================
class other than IN                        REFUSED
OPT, TSIG, NXNAME: never a question        FORMERR
TKEY, MAILA, MAILB                         NOTIMP
AXFR, IXFR                                 REFUSED       (see transfers: TCP, secondaries)
outside our zones                          REFUSED
at a zone cut or below                     NOERROR       NS of the cut in authority; glue
DS at a zone cut                           NOERROR   x   as of any other name: from the parent
no such name, and no wildcard for it       NXDOMAIN  x   SOA in authority (RFC 2308)
ANY, and the name has records              NOERROR   x   one HINFO (RFC 8482)
the name has records of the type           NOERROR   x   the record set; addresses of its targets
the name has a CNAME                       as of     x   the CNAME, then the target's answer if it
                                           target        is in the same zone (RFC 6604)
otherwise                                  NOERROR   x   SOA in authority (NODATA)
=========================================  ========  ==  =========================================

A name that does not exist has the records of the wildcard below its closest encloser, if there is
one (RFC 4592). What a CNAME leads to outside its zone, our other zones included, the resolver asks
itself: it would not believe us.

A and AAAA of a proxied name are the healthy proxies of that family. While at least one proxy is
healthy, a family without one is NODATA: mixing a proxy's IPv4 with the origin's IPv6 would send
half of the visitors past us. While none is healthy they are the origin's address. Their TTL is
shorter while a verdict is pending, and so is that of "no address of this family".

A and AAAA of an ALIAS are those of the name that it leads to. If that name was never found they are
SERVFAIL: NODATA would be remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.model.origins import Address
from watchducks.model.verdicts import Verdicts
from watchducks.nameserver.nodes import DS, EMPTY, HTTPS, Alias, Derived, Node
from watchducks.nameserver.records import RRset, is_below, name_at
from watchducks.nameserver.zones import Zone, ZoneTable

# RFC 8482 section 4.2, with its own example's CPU text and an empty OS. As long as NS and SOA live:
# who asks for ANY gains nothing by asking again.
MINIMAL_ANY: Final = RRset(dns.HINFO, 3_600, (b"\x07RFC8482\x00",))
# No owner needs more than two or three; resolvers give up at some ten to twenty.
MAX_CNAMES: Final = 16
# Addresses of targets are only helpful, and twenty targets' do not fit into a datagram.
MAX_HELPFUL_TARGETS: Final = 20

SVCB: Final = 64
# Types of questions that are not about a name's records, and what they deserve: RFC 6895 section
# 3.1; NXNAME (128): RFC 9824 section 3.5.
_NO_QUESTIONS: Final = {
    dns.OPT: dns.EFORMAT,
    dns.TSIG: dns.EFORMAT,
    128: dns.EFORMAT,
    dns.TKEY: dns.ENOTIMP,
    dns.MAILA: dns.ENOTIMP,
    dns.MAILB: dns.ENOTIMP,
    dns.AXFR: dns.EREFUSED,
    dns.IXFR: dns.EREFUSED,
}
# Where in RDATA the name stands whose addresses the asker wants next.
_TARGET_OFFSETS: Final = {dns.NS: 0, dns.MX: 2, dns.SRV: 6, SVCB: 2, HTTPS: 2}
_IP_VERSIONS: Final = {dns.A: 4, dns.AAAA: 6}


class Question(NamedTuple):
    """:ivar name: lower-case wire name."""

    name: bytes
    type: int
    cls: int


# An owner (lower-case wire name) and its records.
Section = tuple[tuple[bytes, RRset], ...]


class Answer(NamedTuple):
    """What the sections of the response hold, and what of a zone they are.

    :ivar glue: additional records without which a referral leads nowhere (RFC 9471).
    :ivar additional: what is only helpful, and left out when it does not fit.
    :ivar zone: the zone it comes from; None: from none of ours.
    :ivar last: the name at which the look-up ended, behind any CNAMEs.
    :ivar node: the node there, or of the wildcard that stands for it; None: there is no such name.
        In a referral it is the cut's, and ``last`` the cut.
    """

    rcode: int
    authoritative: bool = False
    answers: Section = ()
    authority: Section = ()
    glue: Section = ()
    additional: Section = ()
    zone: Zone | None = None
    last: bytes = b""
    node: Node | None = None


class _View(NamedTuple):
    """What a question is answered from."""

    zones: ZoneTable
    verdicts: Verdicts
    zone: Zone


class _AddressUnknown(Exception):
    """The addresses of the name that an ALIAS or an origin is were never found."""


_REFUSED: Final = Answer(dns.EREFUSED)


def answer(zones: ZoneTable, verdicts: Verdicts, question: Question) -> Answer:
    """Return the answer to ``question``, which may be any name, type and class."""
    name, type_, cls = question
    if cls != dns.IN:
        return _REFUSED
    if type_ in _NO_QUESTIONS:
        return Answer(_NO_QUESTIONS[type_])
    # The DS of a zone's apex are on the parent's side of the cut (RFC 4035 section 3.1.4.1).
    entry = (zones.find_parent if type_ == DS else zones.find)(name)
    if entry is None:
        return _REFUSED
    zone, relative = entry
    try:
        return _follow(_View(zones, verdicts, zone), name, relative, type_)
    except _AddressUnknown:
        return Answer(dns.ESERVER)


def _follow(view: _View, name: bytes, relative: bytes, type_: int) -> Answer:
    """Answer within one zone, from CNAME to CNAME."""
    zones, zone = view.zones, view.zone
    links: Section = ()
    while True:
        node, cut = look_up(zones, zone, relative)
        if cut is not None and (type_ != DS or cut != relative):
            return _referral(view, cut, links)
        if node is None:
            return _negative(view, dns.ENAME, links, name, None)
        if type_ == dns.ALL_RECORDS:
            rrset = MINIMAL_ANY if node else None
        else:
            rrset = _rrset(view, node, type_)
        if rrset is not None:
            return Answer(
                dns.OK,
                authoritative=True,
                answers=(*links, (name, rrset)),
                additional=_helpful(view, name, rrset) if type_ in _TARGET_OFFSETS else (),
                zone=zone,
                last=name,
                node=node,
            )
        cname = None if type_ == dns.ALL_RECORDS else _rrset(view, node, dns.CNAME)
        if cname is None:
            return _negative(view, dns.OK, links, name, node)
        links = (*links, (name, cname))
        target = cname.rdatas[0]
        entry = (zones.find_parent if type_ == DS else zones.find)(target)
        if (
            entry is None
            or entry[0] is not zone
            or len(links) == MAX_CNAMES
            or any(target == owner for owner, _ in links)
        ):
            return Answer(
                dns.OK, authoritative=True, answers=links, zone=zone, last=name, node=node
            )
        name, relative = target, entry[1]


def types_at(zones: ZoneTable, verdicts: Verdicts, zone: Zone, node: Node) -> list[int]:
    """Return the types of which a question would find records in ``node``, for its NSEC."""
    view = _View(zones, verdicts, zone)
    return [type_ for type_ in node if _may_exist(view, node, type_)]


def _may_exist(view: _View, node: Node, type_: int) -> bool:
    try:
        return _rrset(view, node, type_) is not None
    except _AddressUnknown:
        return True  # nobody knows, so nobody must believe that there are none


def look_up(zones: ZoneTable, zone: Zone, relative: bytes) -> tuple[Node | None, bytes | None]:
    """Return the node of a name, or of the wildcard that stands for it, and the name's zone cut.

    The node is None if there is neither. The cut is the relative name of the delegation that the
    name is at or below, and None if it is in the zone.
    """
    node = zones.node(zone, relative)
    if node is not None:
        return node, relative if relative and dns.NS in node else None
    encloser = relative
    while node is None:  # the apex has a node
        encloser = encloser[1 + encloser[0] :]
        node = zones.node(zone, encloser)
    if encloser and dns.NS in node:
        return None, encloser
    return zones.node(zone, b"\x01*" + encloser), None


def _rrset(view: _View, node: Node, type_: int) -> RRset | None:
    """Return a node's records of a type.

    :raises _AddressUnknown: they are another name's, which was never found.
    """
    held = node.get(type_)
    if held is None or isinstance(held, RRset):
        return held
    if held is Derived.PROXIED:
        return _proxied(view, type_)
    if isinstance(held, Alias):
        known = view.zones.alias(held.target)
        if known is None:
            raise _AddressUnknown
        return _rrset(view, known, type_)
    return view.zones.start_of_authority(view.zone, view.verdicts.serial)


def _proxied(view: _View, type_: int) -> RRset | None:
    ttl = _proxied_ttl(view)
    proxies = () if view.zone.direct else view.verdicts.healthy_addresses()
    if proxies:
        return _of_family(proxies, type_, ttl)
    if view.zone.origin is None:
        raise _AddressUnknown
    return _of_family((view.zone.origin, *view.zone.others), type_, ttl)


def _proxied_ttl(view: _View) -> int:
    """Return how long the addresses of proxied names may be kept: they may be about to change."""
    ttl, limit = view.zones.ttl, view.verdicts.ttl_limit
    return ttl if limit is None else min(ttl, limit)


def _of_family(addresses: Iterable[Address], type_: int, ttl: int) -> RRset | None:
    version = _IP_VERSIONS[type_]
    rdatas = tuple(address.packed for address in addresses if address.version == version)
    return RRset(type_, ttl, rdatas) if rdatas else None


def _negative(view: _View, rcode: int, links: Section, name: bytes, node: Node | None) -> Answer:
    """NXDOMAIN or NODATA: how long it may be remembered is the SOA's TTL (RFC 2308 section 5)."""
    soa = view.zones.start_of_authority(view.zone, view.verdicts.serial)
    proxied = node is not None and Derived.PROXIED in node.values()
    ttl = _proxied_ttl(view) if proxied else view.zones.ttl
    short_lived = RRset(soa.type, min(soa.ttl, ttl), soa.rdatas)
    return Answer(
        rcode,
        authoritative=True,
        answers=links,
        authority=((view.zone.apex, short_lived),),
        zone=view.zone,
        last=name,
        node=node,
    )


def _referral(view: _View, cut: bytes, links: Section) -> Answer:
    """Lead to the delegated zone's servers. Authoritative is only what led here, if anything."""
    owner = cut + view.zone.apex
    node = view.zones.node(view.zone, cut) or EMPTY
    servers = _rrset(view, node, dns.NS)
    if servers is None:
        raise AssertionError("a cut has NS")
    inside: list[tuple[bytes, RRset]] = []
    beside: list[tuple[bytes, RRset]] = []
    for server in servers.rdatas:
        # In the delegated zone: nobody else can tell its address.
        found = inside if is_below(server, owner) else beside
        found += _addresses_of(view, server, or_glue=True)
    return Answer(
        dns.OK,
        authoritative=bool(links),
        answers=links,
        authority=((owner, servers),),
        glue=tuple(inside),
        additional=tuple(beside),
        zone=view.zone,
        last=owner,
        node=node,
    )


def _helpful(view: _View, owner: bytes, rrset: RRset) -> Section:
    """Return the addresses of the names that ``rrset`` leads to, as far as they are in the zone."""
    offset = _TARGET_OFFSETS[rrset.type]
    targets = [name_at(rdata, offset) for rdata in rrset.rdatas[:MAX_HELPFUL_TARGETS]]
    if rrset.type in (SVCB, HTTPS):
        # "." is the owner itself (RFC 9460 section 2.5.2), and case may be as the owner wrote it.
        targets = [owner if target == b"\0" else target.lower() for target in targets]
    found: list[tuple[bytes, RRset]] = []
    for target in dict.fromkeys(targets):
        found += _addresses_of(view, target, or_glue=rrset.type == dns.NS)
    return tuple(found)


def _addresses_of(view: _View, target: bytes, *, or_glue: bool) -> Iterator[tuple[bytes, RRset]]:
    entry = view.zones.find(target)
    if entry is None or entry[0] is not view.zone:
        return
    node, cut = look_up(view.zones, view.zone, entry[1])
    if cut is not None:
        node = view.zone.nodes.glue.get(entry[1]) if or_glue else None
    if node is None:
        return
    for type_ in _IP_VERSIONS:
        try:
            rrset = _rrset(view, node, type_)
        except _AddressUnknown:
            return
        if rrset is not None:
            yield target, rrset
