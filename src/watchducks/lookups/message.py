"""Questions as octets, and octets as what an answer holds (RFC 1035 section 4).

Whoever answers may be hostile. dnspython reads names and data of single records; the message around
them is walked here, so that its size in records is known before any is read, and a long one can be
read a piece at a time.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import dns.exception
import dns.flags
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
from dns.name import Name
from dns.rdata import GenericRdata, Rdata

# What fits every path's MTU without fragments (DNS flag day 2020).
MAX_UDP_OCTETS: Final = 1_232
# The most that an ordinary answer has: NS of the root with glue are 40, and a TXT of an apex that
# everybody wants to verify has 50. Reading a record takes 30 us of the reactor, so this is 6 ms.
MAX_ANSWER_RECORDS: Final = 200

_HEADER: Final = struct.Struct("!6H")
_FIXED: Final = struct.Struct("!HHLH")
_QR: Final = 0x8000
_OPCODE: Final = 0x7800
_RCODE: Final = 0x000F
# Types whose names may be compressed (RFC 3597 section 4): their octets alone mean nothing.
_WITH_NAMES: Final = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 21, 24, 26, 33, 35, 39})
# RFC 2181 section 8: a TTL with the top bit set is to be taken as zero.
_MAX_TTL: Final = 2**31 - 1


class Malformed(ValueError):
    """These octets are not the response to our question."""


class Found(NamedTuple):
    """A record as somebody answered it. Whether he may speak for its owner is not checked."""

    owner: Name
    type: int
    ttl: int
    rdata: Rdata


@dataclass(frozen=True, slots=True)
class Response:
    """:ivar authoritative: AA: the asked server holds the zone itself."""

    rcode: int
    authoritative: bool
    truncated: bool
    answer: tuple[Found, ...] = ()
    authority: tuple[Found, ...] = ()
    additional: tuple[Found, ...] = ()


def make_query(id_: int, name: Name, type_: int, *, recursive: bool, edns: bool) -> bytes:
    """Return a query; ``recursive``: the server is a resolver and shall do the work (RD)."""
    flags = dns.flags.RD if recursive else 0
    parts = [
        _HEADER.pack(id_, flags, 1, 0, 0, 1 if edns else 0),
        name.to_wire() or b"",
        struct.pack("!HH", type_, dns.rdataclass.IN),
    ]
    if edns:
        parts.append(b"\0" + _FIXED.pack(dns.rdatatype.OPT, MAX_UDP_OCTETS, 0, 0))
    return b"".join(parts)


class Message:
    """A response whose header and question are read, and whose records are read on demand.

    :param continued: a later message of a transfer, which may leave the question out.
    :raises Malformed: it does not answer the question ``name``, ``type_`` that was sent with this
        id. Names are compared without regard to case.
    """

    def __init__(
        self, data: bytes, id_: int, name: Name, type_: int, *, continued: bool = False
    ) -> None:
        self._data = data
        try:
            found, flags, questions, *counts = _HEADER.unpack_from(data)
        except struct.error:
            raise Malformed("shorter than a header") from None
        if found != id_ or not flags & _QR or flags & _OPCODE:
            raise Malformed("not a response to this question")
        self.rcode = flags & _RCODE
        self.authoritative = bool(flags & dns.flags.AA)
        self.truncated = bool(flags & dns.flags.TC)
        self._counts = counts
        self._start = _HEADER.size
        # An old server that does not know EDNS may answer with a header alone.
        if questions == 0 and (continued or self.rcode == dns.rcode.FORMERR):
            return
        if questions != 1:
            raise Malformed("not one question")
        try:
            asked, octets = dns.name.from_wire(data, self._start)
            pair = struct.unpack_from("!HH", data, self._start + octets)
        except (dns.exception.DNSException, struct.error) as error:
            raise Malformed("the question cannot be read") from error
        if asked != name or pair != (type_, dns.rdataclass.IN):
            raise Malformed("the answer to another question")
        self._start += octets + 4

    @property
    def records(self) -> int:
        """How many records there are said to be, in all sections."""
        return sum(self._counts)

    def read(self) -> Iterator[tuple[int, Found | None]]:
        """Give the records, each with its section: 0 is the answer.

        What is not of class IN, or not readable at all, is None: one strange record does not cost
        us the others.

        :raises Malformed: the message is cut off, so that nobody knows where records begin.
        """
        position = self._start
        for section, count in enumerate(self._counts):
            for _ in range(count):
                found, position = self._record(position)
                yield section, found

    def _record(self, position: int) -> tuple[Found | None, int]:
        data = self._data
        try:
            owner, octets = dns.name.from_wire(data, position)
            position += octets
            type_, class_, ttl, length = _FIXED.unpack_from(data, position)
        except (dns.exception.DNSException, struct.error) as error:
            raise Malformed("a record is cut off") from error
        position += _FIXED.size
        end = position + length
        if end > len(data):
            raise Malformed("a record is cut off")
        if class_ != dns.rdataclass.IN:  # an OPT, whose class is a size, as well
            return None, end
        try:
            rdata = dns.rdata.from_wire(class_, type_, data, position, length)
        except (dns.exception.DNSException, ValueError):
            if type_ in _WITH_NAMES:
                return None, end
            # Wrong, but what its server answers; the owner is shown it as it is.
            rdata = GenericRdata(class_, type_, data[position:end])
        return Found(owner, type_, ttl if ttl <= _MAX_TTL else 0, rdata), end

    def response(self) -> Response:
        """Return the whole response.

        :raises Malformed: cut off, or more records than :data:`MAX_ANSWER_RECORDS`.
        """
        if self.records > MAX_ANSWER_RECORDS:
            raise Malformed(f"an answer of more than {MAX_ANSWER_RECORDS} records")
        sections: tuple[list[Found], ...] = ([], [], [])
        for section, found in self.read():
            if found is not None:
                sections[section].append(found)
        return Response(self.rcode, self.authoritative, self.truncated, *map(tuple, sections))
