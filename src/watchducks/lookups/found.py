"""From records as somebody answered them to records as we keep them. Pure rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import dns.exception
from dns import rdatatype
from dns.name import Name

from watchducks.lookups.message import Found
from watchducks.model.presentation import MAX_TTL, is_accepted, not_kept, type_text
from watchducks.model.scans import Note
from watchducks.model.zones import APEX, MAX_ZONE_OCTETS, MAX_ZONE_RECORDS, Record

# What a zone's new servers make by themselves, and what only its old signer could.
_MADE_BY_SERVERS: Final = frozenset(
    {
        rdatatype.SOA,
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
# Names, servers or types that one note lists.
MAX_LISTED: Final = 5
_ONLY_BELOW_THE_APEX: Final = frozenset({rdatatype.NS, rdatatype.DS, rdatatype.CNAME})


def belongs(found: Found, apex: Name) -> bool:
    """Whether a record is of the zone ``apex``, and none that its servers make themselves."""
    if not found.owner.is_subdomain(apex) or found.type in _MADE_BY_SERVERS:
        return False
    return found.owner != apex or found.type not in _ONLY_BELOW_THE_APEX


def record_of(found: Found, apex: Name) -> Record | None:
    """Return what to keep of a record that belongs to ``apex``; None if it cannot be written as it
    was read, or if no zone may have it."""
    owner, type_ = found.owner, found.type
    if not is_accepted(type_):
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


def owner_of_host(host: str) -> bytes:
    """Return the same of a host as :class:`~watchducks.model.zones.ZoneContents` writes it."""
    labels = [] if host == APEX else host.encode("ascii").split(b".")
    return b"".join(bytes((len(label),)) + label for label in labels)


class Collection:
    """The records found so far, each once, and no more than a zone may hold.

    :ivar notes: what was left out.
    """

    def __init__(self, apex: Name) -> None:
        self._apex = apex
        self._records: dict[tuple[bytes, int, bytes], Record] = {}
        self._octets = 0
        self._full = False
        self._refused: set[int] = set()

    def add(self, found: Iterable[Found]) -> None:
        """Keep what belongs into the zone. Of two TTLs of one RRset the first is kept."""
        for one in found:
            if not belongs(one, self._apex):
                continue
            record = record_of(one, self._apex)
            if record is None:
                self._refused.add(one.type)
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
        notes = []
        if rdatatype.DNAME in self._refused:
            problem = not_kept("DNAME")
            notes.append(Note(problem.code, problem.template))
        refused = sorted(self._refused - {rdatatype.DNAME})
        if refused:
            types = ", ".join(map(type_text, refused[:MAX_LISTED]))
            notes.append(
                Note(
                    "refused-types",
                    "There are records that cannot be kept, of type {types}.",
                    {"types": types},
                )
            )
        if self._full:
            notes.append(
                Note(
                    "too-many-records",
                    "The zone is larger than we keep: only {records} of its records were read.",
                    {"records": len(self._records)},
                )
            )
        return notes
