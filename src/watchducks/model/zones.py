"""Zone contents: what a site's zone holds beside the records that we make ourselves.

The records that were there before the name servers were changed (MX, TXT, CAA ...), and the hosts
whose visitors we lead through the proxy. SOA, NS of the apex and the A and AAAA of proxied hosts
are never among them: they are worked out while a question is answered.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

# The zone's apex, as zone files write it.
APEX: Final = "@"
# Some 40 bytes each as they travel. Real zones have tens; the largest that a hosting panel makes
# some hundreds. A follower holds 100,000 zones, and one of them must not weigh as much as the rest.
MAX_ZONE_RECORDS: Final = 2_000
# The same thought for zones of few, but long, records (a DKIM key is 400 octets).
MAX_ZONE_OCTETS: Final = 256 * 1024
# As many as names in a certificate (100 at Let's Encrypt): each proxied host needs one.
MAX_PROXIED_HOSTS: Final = 100

# Version of the packed form; what a later version wrote is not guessed at.
_FORMAT: Final = 1
_HEAD: Final = struct.Struct("!BH")
_RECORD: Final = struct.Struct("!BHLH")


class Record(NamedTuple):
    """One resource record.

    :ivar owner: relative to the zone's apex: wire-format labels in lower case without the final
        zero octet (``b"\\x03www"``); ``b""`` is the apex.
    :ivar type: the number of its type, as in :mod:`twisted.names.dns`; :data:`ALIAS` is ours.
    :ivar ttl: seconds.
    :ivar rdata: with names in it written out in full, in canonical form (RFC 4034 section 6.2:
        in lower case where the type is one of those listed there).
    """

    owner: bytes
    type: int
    ttl: int
    rdata: bytes


# "The addresses of that other name", for an apex that cannot have a CNAME. A private-use type
# (RFC 6895 section 3.1), the one that PowerDNS uses; RDATA: the target's wire name. Never sent.
ALIAS: Final = 65_401


@dataclass(frozen=True, slots=True)
class ZoneContents:
    """:ivar proxied: relative host names, :data:`APEX` for the zone itself; in lower case.
    :ivar records: in no particular order, no two the same."""

    proxied: tuple[str, ...] = (APEX, "www")
    records: tuple[Record, ...] = ()

    def pack(self) -> bytes:
        """Return the form in which stores keep it; empty for what every new zone holds."""
        if self == DEFAULT_CONTENTS:
            return b""
        hosts = ",".join(self.proxied).encode("ascii")
        return b"".join([_HEAD.pack(_FORMAT, len(hosts)), hosts, *_packed(self.records)])

    @classmethod
    def unpack(cls, packed: bytes) -> ZoneContents:
        """Return what :meth:`pack` was given; all zones that hold nothing share one object.

        :raises ValueError: this was not packed by us, or by a later version.
        """
        if not packed:
            return DEFAULT_CONTENTS
        try:
            version, length = _HEAD.unpack_from(packed)
            if version != _FORMAT:
                raise ValueError(f"zone contents have format {version}, and we know {_FORMAT}")
            start = _HEAD.size + length
            if start > len(packed):
                raise ValueError("the zone contents are cut off")
            hosts = packed[_HEAD.size : start].decode("ascii")
            records = tuple(_unpacked(packed, start))
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError("these are no zone contents") from error
        return cls(tuple(hosts.split(",")) if hosts else (), records)


DEFAULT_CONTENTS: Final = ZoneContents()


def _packed(records: Sequence[Record]) -> Iterator[bytes]:
    for owner, type_, ttl, rdata in records:
        yield _RECORD.pack(len(owner), type_, ttl, len(rdata))
        yield owner
        yield rdata


def _unpacked(packed: bytes, start: int) -> Iterator[Record]:
    while start < len(packed):
        owner_octets, type_, ttl, rdata_octets = _RECORD.unpack_from(packed, start)
        start += _RECORD.size
        middle, end = start + owner_octets, start + owner_octets + rdata_octets
        if end > len(packed):
            raise ValueError("the zone contents are cut off")
        yield Record(packed[start:middle], type_, ttl, packed[middle:end])
        start = end


def owner_labels(owner: bytes) -> tuple[bytes, ...]:
    """Return the labels of a relative owner."""
    labels, start = [], 0
    while start < len(owner):
        end = start + 1 + owner[start]
        labels.append(owner[start + 1 : end])
        start = end
    return tuple(labels)
