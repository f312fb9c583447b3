"""What to answer: pure rules from (zones, verdicts, question) to an answer.

The rules, in the order in which they are tried:

=========================================  =======  ==  ==========================================
the question                               rcode    AA  sections
=========================================  =======  ==  ==========================================
class other than IN                        REFUSED
AXFR, IXFR                                 REFUSED      (a zone is nobody's to copy yet)
outside our zones                          REFUSED
no such name in the zone                   NXDOMAIN  x  SOA in authority (RFC 2308)
ANY, and the name has records              NOERROR   x  one HINFO (RFC 8482)
the name has no records of the type        NOERROR   x  SOA in authority (NODATA)
NS at the apex                             NOERROR   x  NS; addresses of servers inside the zone
otherwise                                  NOERROR   x  the record set
=========================================  =======  ==  ==========================================

A and AAAA of a proxied name are the healthy proxies of that family. While at least one proxy is
healthy, a family without one is NODATA: mixing a proxy's IPv4 with the origin's IPv6 would send
half of the visitors past us. While none is healthy they are the origin's address.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.model.verdicts import Verdicts
from watchducks.nameserver.records import RRset
from watchducks.nameserver.zones import Derived, Zone, ZoneTable

# RFC 8482 section 4.2, with its own example's CPU text and an empty OS. As long as NS and SOA live:
# who asks for ANY gains nothing by asking again.
MINIMAL_ANY: Final = RRset(dns.HINFO, 3_600, (b"\x07RFC8482\x00",))
_IP_VERSIONS: Final = {dns.A: 4, dns.AAAA: 6}


class Question(NamedTuple):
    """:ivar name: lower-case wire name."""

    name: bytes
    type: int
    cls: int


# An owner (lower-case wire name) and its records.
Section = tuple[tuple[bytes, RRset], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sections of the response hold."""

    rcode: int
    authoritative: bool = False
    answers: Section = ()
    authority: Section = ()
    additional: Section = ()


_REFUSED: Final = Answer(dns.EREFUSED)


def answer(zones: ZoneTable, verdicts: Verdicts, question: Question) -> Answer:
    """Return the answer to ``question``, which may be any name, type and class."""
    if question.cls != dns.IN or question.type in (dns.AXFR, dns.IXFR):
        return _REFUSED
    found = zones.find(question.name)
    if found is None:
        return _REFUSED
    zone, relative = found
    node = zone.nodes.get(relative)
    if node is None:
        return _negative(dns.ENAME, zones, zone, verdicts)
    if question.type == dns.ALL_RECORDS and node:
        return Answer(dns.OK, authoritative=True, answers=((question.name, MINIMAL_ANY),))
    held = node.get(question.type)
    if held is Derived.PROXIED:
        rrset = _proxied(zones, zone, verdicts, question.type)
    elif held is Derived.START_OF_AUTHORITY:
        rrset = zones.start_of_authority(zone, verdicts.revision)
    else:
        rrset = held
    if rrset is None:
        return _negative(dns.OK, zones, zone, verdicts)
    return Answer(
        dns.OK,
        authoritative=True,
        answers=((question.name, rrset),),
        additional=tuple(zones.glue(zone)) if question.type == dns.NS else (),
    )


def _proxied(zones: ZoneTable, zone: Zone, verdicts: Verdicts, type_: int) -> RRset | None:
    version = _IP_VERSIONS[type_]
    candidates = verdicts.healthy_addresses()
    if not candidates:
        candidates = () if zone.origin is None else (zone.origin,)
    rdatas = tuple(address.packed for address in candidates if address.version == version)
    return RRset(type_, zones.ttl, rdatas) if rdatas else None


def _negative(rcode: int, zones: ZoneTable, zone: Zone, verdicts: Verdicts) -> Answer:
    """NXDOMAIN or NODATA: how long it may be remembered is the SOA's TTL (RFC 2308 section 5)."""
    soa = zones.start_of_authority(zone, verdicts.revision)
    short_lived = RRset(soa.type, min(soa.ttl, zones.ttl), soa.rdatas)
    return Answer(rcode, authoritative=True, authority=((zone.apex, short_lived),))
