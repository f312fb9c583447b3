"""Octets to a query, and an answer to octets (RFC 1035 section 4, EDNS(0): RFC 6891).

``twisted.names.dns.Message`` is not used for the packet itself: it takes a question with a
compression loop, hides which part of a packet was wrong, loses a label's dots, keeps EDNS private
and truncates in the middle of a record. What remains of the format, one question and the search for
an OPT record, is smaller than working around that, and a sixth of its CPU time.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from twisted.names import dns

from watchducks.nameserver.answer import Answer, Question, Section
from watchducks.nameserver.records import (
    MAX_LABEL_OCTETS,
    MAX_NAME_OCTETS,
    RRset,
    name_at,
    suffix_offsets,
)

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
# Compact Answers OK (RFC 9824 section 5.1).
CO: Final = 0x4000

BADVERS: Final = 16
BADCOOKIE: Final = 23  # RFC 7873
_FIXED_RR = struct.Struct("!HHLH")
_OPT = struct.Struct("!BHHBBHH")
_OPTION = struct.Struct("!HH")
_COUNTS = struct.Struct("!4H")
_NUMBER = struct.Struct("!H")
_ONE: Final = bytes((0, 1))
_POINTER: Final = 0xC000
# Fourteen bits (RFC 1035 section 4.1.4).
_MAX_POINTER: Final = 0x3FFF
# In RDATA of these types: how many octets precede the names, and how many names there are.
_COMPRESSIBLE: Final = {
    dns.NS: (0, 1),
    dns.CNAME: (0, 1),
    dns.SOA: (0, 2),
    dns.PTR: (0, 1),
    dns.MX: (2, 1),
}


class Malformed(ValueError):
    """The packet is not a query that can be read: FORMERR."""


class Edns(NamedTuple):
    """The OPT record of a query.

    :ivar udp_octets: the largest datagram that the asker takes.
    :ivar compact_ok: with DO: NXDOMAIN is understood beside a proof that says "no data".
    :ivar options: its RDATA, not read any further: see :func:`read_options`.
    """

    udp_octets: int
    version: int
    dnssec_ok: bool
    options: bytes = b""
    compact_ok: bool = False


class Query(NamedTuple):
    """:ivar end: where the question's name ends in the packet, its final zero octet included."""

    question: Question
    end: int
    edns: Edns | None


class Reply(NamedTuple):
    """A response without what each asker's packet adds: id, RD, CD and the name's letter case.

    :ivar flags: the two octets behind the id.
    :ivar counts: the eight octets behind those.
    :ivar sections: everything behind the question; an OPT is the last record, and has no options.
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
    if data[4:6] != _ONE:
        raise Malformed("not one question")
    end = _question_end(data)
    if end + 4 > len(data):
        raise Malformed("cut off in the question")
    type_, cls = struct.unpack_from("!HH", data, end)
    edns = _read_records(data, end + 4)
    # Octets of lengths are below 64, so only letters are changed.
    return Query(Question(data[HEADER_OCTETS:end].lower(), type_, cls), end, edns)


def parse_without_question(data: bytes) -> Edns:
    """Read a packet with opcode QUERY and no question: its OPT is all that there is.

    :raises Malformed: as :func:`parse_query`, and if there is no OPT.
    """
    edns = _read_records(data, HEADER_OCTETS)
    if edns is None:
        raise Malformed("no question")
    return edns


def _read_records(data: bytes, offset: int) -> Edns | None:
    """Skip the records behind the question, but for the OPT, which is returned."""
    answers, authorities, additionals = struct.unpack_from("!3H", data, 6)
    edns: Edns | None = None
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
            edns = Edns(
                size,
                numbers >> 16 & 0xFF,
                bool(numbers & DO),
                data[offset - length : offset],
                numbers & (DO | CO) == DO | CO,
            )
    if offset != len(data):
        raise Malformed("octets after the end")
    return edns


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


def read_options(rdata: bytes) -> dict[int, bytes]:
    """Return the options of an OPT record by code; of several with one code, the first.

    :raises Malformed: an option is cut off.
    """
    options: dict[int, bytes] = {}
    offset = 0
    # Each turn takes 4 octets or more, so the packet's own length bounds the loop.
    while offset < len(rdata):
        if offset + _OPTION.size > len(rdata):
            raise Malformed("cut off in an option")
        code, length = _OPTION.unpack_from(rdata, offset)
        offset += _OPTION.size + length
        if offset > len(rdata):
            raise Malformed("cut off in an option")
        options.setdefault(code, rdata[offset - length : offset])
    return options


def write_option(code: int, data: bytes) -> bytes:
    """Return one option of an OPT record."""
    return _OPTION.pack(code, len(data)) + data


def opt_record(
    extended_rcode: int, *, dnssec_ok: bool, compact_ok: bool = False, options: bytes = b""
) -> bytes:
    """Return our OPT: the size we take, version 0, and the asker's DO (RFC 3225) and CO bits.

    :param extended_rcode: the upper eight bits of the response code.
    :param options: any number of :func:`write_option`.
    """
    flags = (DO if dnssec_ok else 0) | (CO if compact_ok else 0)
    fixed = _OPT.pack(0, dns.OPT, MAX_UDP_OCTETS, extended_rcode, 0, flags, len(options))
    return fixed + options


def bad_version(query: Query, data: bytes) -> bytes:
    """Return the response to a query whose EDNS version is not 0 (RFC 6891 section 6.1.3)."""
    reply = encode(query, Answer(BADVERS), MIN_UDP_OCTETS)
    return reply.render(data, query.end + 4)


def without_question(data: bytes, rcode: int, options: bytes) -> bytes:
    """Return the response to a query without a question: an OPT with ``options``."""
    head = data[:2] + bytes((QR | data[2] & RD, rcode & 0xF)) + _COUNTS.pack(0, 0, 0, 1)
    return head + opt_record(rcode >> 4, dnssec_ok=False, options=options)


def come_by_tcp(query: Query) -> Reply:
    """Return a reply that holds nothing but TC."""
    empty = encode(query, Answer(dns.OK, authoritative=True), MIN_UDP_OCTETS)
    first, second = empty.flags
    return empty._replace(flags=(first | TC, second))


def size_limit(edns: Edns | None) -> int:
    """Return the largest datagram to answer with, in octets."""
    if edns is None:
        return MIN_UDP_OCTETS
    return min(max(edns.udp_octets, MIN_UDP_OCTETS), MAX_UDP_OCTETS)


def encode(query: Query, answer: Answer, limit: int, options: bytes = b"") -> Reply:
    """Write ``answer`` down within ``limit`` octets for the whole message.

    Record sets are written whole or not at all (RFC 2181 section 9). From the first on that does
    not fit the rest is left out, and TC is set unless that is only helpful: the asker comes again
    over TCP. The OPT record always fits.

    :param options: for the OPT record, see :func:`opt_record`; without EDNS there is none.
    """
    opt = b""
    if query.edns is not None:
        opt = opt_record(
            answer.rcode >> 4,
            dnssec_ok=query.edns.dnssec_ok,
            compact_ok=query.edns.compact_ok,
            options=options,
        )
    first, second = QR | (AA if answer.authoritative else 0), answer.rcode & 0xF
    sections = _Sections(query, limit - len(opt))
    helpful = 0
    answers = sections.write(answer.answers)
    authority = sections.write(answer.authority)
    glue = sections.write(answer.glue)
    if sections.full:
        first |= TC
    else:
        helpful = sections.write(answer.additional)
    counts = _COUNTS.pack(1, answers, authority, glue + helpful + (1 if opt else 0))
    return Reply((first, second), counts, b"".join((*sections.parts, opt)))


class _Sections:
    """Records as they are written behind a question.

    Names are compressed against all that was written before (RFC 1035 section 4.1.4), those within
    RDATA only where that RFC knows the type (RFC 3597 section 4).

    :ivar parts: the octets, in pieces.
    :ivar full: something did not fit; what comes after it is left out as well.
    """

    __slots__ = ("_limit", "_offset", "_pointers", "full", "parts")

    def __init__(self, query: Query, limit: int) -> None:
        """
        :param limit: the octets that there are for the message without its OPT.
        """
        self.parts: list[bytes] = []
        self.full = False
        self._limit = limit
        self._offset = query.end + 4
        name = query.question.name
        self._pointers = {
            name[offset:]: _NUMBER.pack(_POINTER | HEADER_OCTETS + offset)
            for offset in suffix_offsets(name)
            if name[offset]
        }

    def write(self, section: Section) -> int:
        """Write as many record sets as fit; return how many records those are."""
        count = 0
        for owner, rrset in section:
            if self.full or not self._write(owner, rrset):
                self.full = True
                break
            count += len(rrset.rdatas)
        return count

    def _write(self, owner: bytes, rrset: RRset) -> bool:
        type_, ttl, rdatas = rrset
        names = _COMPRESSIBLE.get(type_)
        parts: list[bytes] = []
        offset = self._offset
        for whole in rdatas:
            name = self._compressed(owner, offset)
            start = offset + len(name) + _FIXED_RR.size
            rdata = whole if names is None else self._compressed_rdata(whole, start, *names)
            parts += (name, _FIXED_RR.pack(type_, dns.IN, ttl, len(rdata)), rdata)
            offset = start + len(rdata)
            if offset > self._limit:
                return False
        self.parts += parts
        self._offset = offset
        return True

    def _compressed_rdata(self, rdata: bytes, start: int, prefix: int, count: int) -> bytes:
        """Compress the ``count`` names that follow ``prefix`` octets of RDATA."""
        written, offset = rdata[:prefix], prefix
        for _ in range(count):
            name = name_at(rdata, offset)
            written += self._compressed(name, start + len(written))
            offset += len(name)
        return written + rdata[offset:]

    def _compressed(self, name: bytes, start: int) -> bytes:
        """Return ``name`` as it is written at ``start``, and remember where its suffixes are."""
        pointers = self._pointers
        offset = 0
        while name[offset]:
            suffix = name[offset:]
            pointer = pointers.get(suffix)
            if pointer is not None:
                return name[:offset] + pointer
            if start + offset <= _MAX_POINTER:
                pointers[suffix] = _NUMBER.pack(_POINTER | start + offset)
            offset += 1 + name[offset]
        return name
