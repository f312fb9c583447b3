"""Octets to a query, and an answer to octets (RFC 1035 section 4, EDNS(0): RFC 6891).

``twisted.names.dns.Message`` is not used for the packet itself: it takes a question with a
compression loop, hides which part of a packet was wrong, loses a label's dots, keeps EDNS private
and truncates in the middle of a record. What remains of the format, one question and the search for
an OPT record, is smaller than working around that, and a sixth of its CPU time.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.nameserver.answer import Answer, Question
from watchducks.nameserver.records import MAX_LABEL_OCTETS, MAX_NAME_OCTETS, RRset, suffix_offsets

HEADER_OCTETS: Final = 12
# Without EDNS (RFC 1035 section 4.2.1), and the least that a size given with EDNS can mean.
MIN_UDP_OCTETS: Final = 512
# What fits every path's MTU without fragments (DNS flag day 2020): we neither send nor want more.
MAX_UDP_OCTETS: Final = 1_232
MAX_TCP_OCTETS: Final = 65_535
# An OPT record without options: root, type, size, extended RCODE, version, flags, RDLENGTH.
OPT_OCTETS: Final = 11

# The second 16 bits of a header.
QR: Final = 0x80
AA: Final = 0x04
TC: Final = 0x02
RD: Final = 0x01
OPCODE: Final = 0x78
CD: Final = 0x10
DO: Final = 0x8000

BADVERS: Final = 16
_FIXED_RR = struct.Struct("!HHLH")
_OPT = struct.Struct("!BHHBBHH")
_POINTER: Final = 0xC000


class Malformed(ValueError):
    """The packet is not a query that can be read: FORMERR."""


class Edns(NamedTuple):
    """The OPT record of a query. ``udp_octets``: the largest datagram that the asker takes."""

    udp_octets: int
    version: int
    dnssec_ok: bool


class Query(NamedTuple):
    """:ivar end: where the question's name ends in the packet, its final zero octet included."""

    question: Question
    end: int
    edns: Edns | None


class Reply(NamedTuple):
    """A response without what each asker's packet adds: id, RD, CD and the name's letter case.

    :ivar flags: the two octets behind the id.
    :ivar counts: the eight octets behind those.
    :ivar sections: everything behind the question.
    """

    flags: tuple[int, int]
    counts: bytes
    sections: bytes

    def render(self, query: bytes, question_end: int) -> bytes:
        """Return the response to the packet ``query``, whose question ends at ``question_end``."""
        first, second = self.flags
        return (
            query[:2]
            + bytes((first | query[2] & RD, second | query[3] & CD))
            + self.counts
            + query[HEADER_OCTETS:question_end]
            + self.sections
        )


def is_query(data: bytes) -> bool:
    """Whether the packet deserves any response: a whole header, and not itself a response."""
    return len(data) >= HEADER_OCTETS and not data[2] & QR


def bare_response(query: bytes, rcode: int) -> bytes:
    """Return a response of nothing but a header, for a query that :func:`is_query`."""
    return query[:2] + bytes((QR | query[2] & (OPCODE | RD), rcode)) + bytes(8)


def parse_query(data: bytes) -> Query:
    """Read a packet with opcode QUERY.

    Records other than the OPT are skipped, not read: whatever is in them does not concern us.

    :raises Malformed: not exactly one question, a name that is cut off, too long or compressed, two
        OPTs, or octets missing or left over.
    """
    questions, answers, authorities, additionals = struct.unpack_from("!4H", data, 4)
    if questions != 1:
        raise Malformed("not one question")
    end = _question_end(data)
    if end + 4 > len(data):
        raise Malformed("cut off in the question")
    type_, cls = struct.unpack_from("!HH", data, end)
    edns: Edns | None = None
    offset = end + 4
    # Each turn takes 11 octets or more, so the packet's own length bounds the loop.
    for index in range(answers + authorities + additionals):
        owner, offset = offset, _skip_name(data, offset)
        if offset + _FIXED_RR.size > len(data):
            raise Malformed("cut off in a record")
        record_type, size, numbers, length = _FIXED_RR.unpack_from(data, offset)
        offset += _FIXED_RR.size + length
        if offset > len(data):
            raise Malformed("cut off in a record")
        if record_type == dns.OPT:
            if edns is not None or data[owner] or index < answers + authorities:
                raise Malformed("a second or misplaced OPT")
            edns = Edns(size, numbers >> 16 & 0xFF, bool(numbers & DO))
    if offset != len(data):
        raise Malformed("octets after the end")
    # Octets of lengths are below 64, so only letters are changed.
    return Query(Question(data[HEADER_OCTETS:end].lower(), type_, cls), end, edns)


def _question_end(data: bytes) -> int:
    """Walk the question's name; nothing precedes it, so a compression pointer in it is an error."""
    offset = HEADER_OCTETS
    while True:
        if offset >= len(data):
            raise Malformed("cut off in the question's name")
        length = data[offset]
        if length > MAX_LABEL_OCTETS:
            raise Malformed("a pointer or an unknown label type in the question")
        offset += 1 + length
        if offset - HEADER_OCTETS > MAX_NAME_OCTETS:
            raise Malformed("the question's name is too long")
        if not length:
            return offset


def _skip_name(data: bytes, offset: int) -> int:
    """Return where the possibly compressed name at ``offset`` ends; pointers are not followed."""
    while offset < len(data):
        length = data[offset]
        if length >= 0xC0:
            return offset + 2
        if length > MAX_LABEL_OCTETS:
            break
        offset += 1 + length
        if not length:
            return offset
    raise Malformed("a record's name cannot be read")


def opt_record(extended_rcode: int, *, dnssec_ok: bool) -> bytes:
    """Return our OPT: the size we take, version 0, and the asker's DO bit (RFC 3225)."""
    return _OPT.pack(0, dns.OPT, MAX_UDP_OCTETS, extended_rcode, 0, DO if dnssec_ok else 0, 0)


def bad_version(query: Query, data: bytes) -> bytes:
    """Return the response to a query whose EDNS version is not 0 (RFC 6891 section 6.1.3)."""
    dnssec_ok = query.edns is not None and query.edns.dnssec_ok
    opt = opt_record(BADVERS >> 4, dnssec_ok=dnssec_ok)
    return Reply((QR, BADVERS & 0xF), struct.pack("!4H", 1, 0, 0, 1), opt).render(
        data, query.end + 4
    )


def size_limit(edns: Edns | None) -> int:
    """Return the largest datagram to answer with, in octets."""
    if edns is None:
        return MIN_UDP_OCTETS
    return min(max(edns.udp_octets, MIN_UDP_OCTETS), MAX_UDP_OCTETS)


def encode(query: Query, answer: Answer, limit: int) -> Reply:
    """Write ``answer`` down within ``limit`` octets for the whole message.

    What is only helpful (the additional section) goes first; if the rest does not fit either, the
    message is empty with TC set, and the asker comes again over TCP.
    """
    question_octets = query.end + 4  # the header included
    opt = b""
    if query.edns is not None:
        opt = opt_record(0, dnssec_ok=query.edns.dnssec_ok)
    # Owners are written as a pointer when they are the question's name or a suffix of it, which
    # they nearly always are. Names within RDATA are never compressed (RFC 3597 section 4 would
    # forbid it for newer types; for the others it saves little and costs the sharing of RDATA).
    pointers = {
        query.question.name[offset:]: struct.pack("!H", _POINTER | HEADER_OCTETS + offset)
        for offset in suffix_offsets(query.question.name)
        if query.question.name[offset]
    }
    required, required_counts = _sections((answer.answers, answer.authority), pointers)
    helpful, helpful_counts = _sections((answer.additional,), pointers)
    flags = QR | (AA if answer.authoritative else 0)
    extra = len(opt) > 0
    size = question_octets + len(required) + len(opt)
    if size > limit:
        counts = struct.pack("!4H", 1, 0, 0, extra)
        return Reply((flags | TC, answer.rcode), counts, opt)
    if size + len(helpful) > limit:
        helpful, helpful_counts = b"", [0]
    counts = struct.pack("!4H", 1, *required_counts, helpful_counts[0] + extra)
    return Reply((flags, answer.rcode), counts, required + helpful + opt)


def _sections(
    sections: Sequence[Sequence[tuple[bytes, RRset]]], pointers: dict[bytes, bytes]
) -> tuple[bytes, list[int]]:
    parts: list[bytes] = []
    counts: list[int] = []
    for section in sections:
        counts.append(sum(len(rrset.rdatas) for _, rrset in section))
        for owner, rrset in section:
            name = pointers.get(owner, owner)
            for rdata in rrset.rdatas:
                parts += (
                    name,
                    _FIXED_RR.pack(rrset.type, dns.IN, rrset.ttl, len(rdata)),
                    rdata,
                )
    return b"".join(parts), counts
