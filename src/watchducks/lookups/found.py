"""From records as somebody answered them to records as we keep them. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dns.exception
from dns import rdatatype
from dns.name import Name

from watchducks.lookups.message import Found
from watchducks.model.scans import Note
from watchducks.model.zones import MAX_ZONE_OCTETS, MAX_ZONE_RECORDS, Record

# What a zone's new servers make by themselves, and what only its old signer could.
_SIGNING: Final = frozenset(
    {
        rdatatype.RRSIG,
        rdatatype.NSEC,
        rdatatype.NSEC3,
        rdatatype.NSEC3PARAM,
        rdatatype.DNSKEY,
        rdatatype.CDS,
        rdatatype.CDNSKEY,
        rdatatype.KEY,
        rdatatype.SIG,
        rdatatype.NXT,
    }
)
_ONLY_BELOW_THE_APEX: Final = frozenset({rdatatype.NS, rdatatype.DS, rdatatype.CNAME})
# A TTL that no resolver honours: most forget after a day, all after a week.
MAX_TTL: Final = 7 * 86_400


def record_of(found: Found, apex: Name) -> Record | None:
    """Return what to keep of a record; None if it is none of the zone ``apex``, or not to be kept.

    Hostile records end here: those of other zones, of types that are no data (RFC 6895 section 3.1:
    128 to 255), and those that cannot be written as they were read.
    """
    owner, type_ = found.owner, found.type
    if not owner.is_subdomain(apex) or type_ in _SIGNING or type_ == rdatatype.SOA:
        return None
    if owner == apex and type_ in _ONLY_BELOW_THE_APEX:
        return None
    if rdatatype.is_metatype(rdatatype.RdataType.make(type_)) or type_ == 0:
        return None
    try:
        rdata = found.rdata.to_digestable()
    except (dns.exception.DNSException, ValueError):
        return None
    return Record(relative(owner, apex), int(type_), min(found.ttl, MAX_TTL), rdata)


def relative(owner: Name, apex: Name) -> bytes:
    """Return the owner as :class:`~watchducks.model.zones.Record` writes it."""
    labels = owner.relativize(apex).labels
    return b"".join(bytes((len(label),)) + label.lower() for label in labels)


class Collection:
    """The records found so far, each once, and no more than a zone may hold.

    :ivar notes: what was left out.
    """

    def __init__(self, apex: Name) -> None:
        self._apex = apex
        self._records: dict[tuple[bytes, int, bytes], Record] = {}
        self._octets = 0
        self._full = False

    def add(self, found: Iterable[Found]) -> None:
        """Keep what belongs into the zone. Of two TTLs of one RRset the first is kept."""
        for one in found:
            record = record_of(one, self._apex)
            if record is None:
                continue
            key = (record.owner, record.type, record.rdata)
            if key in self._records:
                continue
            octets = len(record.owner) + len(record.rdata)
            if len(self._records) >= MAX_ZONE_RECORDS or self._octets + octets > MAX_ZONE_OCTETS:
                self._full = True
                return
            self._octets += octets
            self._records[key] = record

    def records(self) -> tuple[Record, ...]:
        """Return what was kept: by owner, the apex first, and type; one TTL for each RRset."""
        ttls: dict[tuple[bytes, int], int] = {}
        for record in self._records.values():
            ttls.setdefault((record.owner, record.type), record.ttl)
        return tuple(
            record._replace(ttl=ttls[record.owner, record.type])
            for record in sorted(self._records.values())
        )

    def notes(self) -> list[Note]:
        """Return what to say about what was left out."""
        if not self._full:
            return []
        return [
            Note(
                "too-many-records",
                "The zone is larger than we keep: only {records} of its records were read.",
                {"records": len(self._records)},
            )
        ]
