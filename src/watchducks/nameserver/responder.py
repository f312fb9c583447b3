"""One packet in, one packet (or none) out: the rules in front of the answer, and its cache.

The rules, in the order in which they are tried:

======================================  ==================================
the packet                              the response
======================================  ==================================
shorter than a header, or QR set        none (else two servers could argue for ever)
opcode other than QUERY                 NOTIMP, a header alone
cannot be read                          FORMERR, a header alone
EDNS version other than 0               BADVERS
anything else                           see :mod:`watchducks.nameserver.answer`
our own failure while answering         SERVFAIL, a header alone; logged
======================================  ==================================
"""

from __future__ import annotations

from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import dns

from watchducks.model.verdicts import Verdicts
from watchducks.nameserver import wire
from watchducks.nameserver.answer import answer
from watchducks.nameserver.wire import Query, Reply
from watchducks.nameserver.zones import ZoneTable

# Some 600 octets each with key and table, so 12 MB: the hot part of 100,000 zones.
MAX_CACHED_REPLIES: Final = 20_000
# One report of a failure this often, with the number of those left out: a packet that makes us
# fail can be sent a hundred thousand times a second.
FAILURE_REPORT_SECONDS: Final = 10.0

_ONE_QUESTION: Final = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_ONE_QUESTION_AND_OPT: Final = bytes((0, 1, 0, 0, 0, 0, 0, 1))
# The root as owner, and the type: how an OPT record begins.
_OPT_START: Final = bytes((0, 0, dns.OPT))


class Responder:
    """Answers packets, for any number of sockets. Never raises.

    Ready responses are kept by question and kind of EDNS, so that a repeated question costs a
    look-up and the patching of what differs. They are forgotten with every change of a zone or a
    verdict, which both are rarer than questions by orders of magnitude. Only what exists is kept
    (NOERROR, not truncated): random names cannot push it out.
    """

    _log = Logger()

    def __init__(self, zones: ZoneTable, verdicts: Verdicts, *, clock: IReactorTime) -> None:
        self._zones = zones
        self._verdicts = verdicts
        self._clock = clock
        self._replies: dict[bytes, Reply] = {}
        self._revisions = (-1, -1)
        self._failures = 0
        self._reported: float | None = None

    def respond(self, data: bytes, *, datagram: bool) -> bytes | None:
        """Return the response to one packet; None: let it go unanswered.

        :param datagram: it came by UDP, so the response has a size limit of its own.
        """
        if not wire.is_query(data):
            return None
        try:
            return self._cached(data, datagram=datagram) or self._answered(data, datagram=datagram)
        except wire.Malformed:
            return wire.bare_response(data, dns.EFORMAT)
        except Exception:  # whatever it is, it concerns this packet alone
            self._report_failure()
            return wire.bare_response(data, dns.ESERVER)

    def _cached(self, data: bytes, *, datagram: bool) -> bytes | None:
        revisions = (self._zones.revision, self._verdicts.revision)
        if revisions != self._revisions:
            self._replies.clear()
            self._revisions = revisions
        key = cache_key(data)
        reply = self._replies.get(key) if key is not None else None
        if reply is None:
            return None
        # The key's own question is the packet's, so it ends where the key says (see cache_key).
        end = data.find(0, wire.HEADER_OCTETS) + 5
        if datagram and end + len(reply.sections) > _datagram_limit(data, end):
            return None
        return reply.render(data, end)

    def _answered(self, data: bytes, *, datagram: bool) -> bytes:
        if data[2] & wire.OPCODE:
            return wire.bare_response(data, dns.ENOTIMP)
        query = wire.parse_query(data)
        if query.edns is not None and query.edns.version != 0:
            return wire.bad_version(query, data)
        limit = wire.size_limit(query.edns) if datagram else wire.MAX_TCP_OCTETS
        reply = wire.encode(query, answer(self._zones, self._verdicts, query.question), limit)
        self._remember(data, query, reply)
        return reply.render(data, query.end + 4)

    def _remember(self, data: bytes, query: Query, reply: Reply) -> None:
        first, rcode = reply.flags
        if rcode != dns.OK or first & wire.TC:
            return
        key = cache_key(data)
        # A label may hold a zero octet; then the key does not end where the name does.
        if key is None or data.find(0, wire.HEADER_OCTETS) + 1 != query.end:
            return
        if len(self._replies) >= MAX_CACHED_REPLIES:
            del self._replies[next(iter(self._replies))]
        self._replies[key] = reply

    def _report_failure(self) -> None:
        self._failures += 1
        now = self._clock.seconds()
        if self._reported is None or now - self._reported >= FAILURE_REPORT_SECONDS:
            self._log.failure("{count} questions were answered with SERVFAIL", count=self._failures)
            self._reported = now
            self._failures = 0


def cache_key(data: bytes) -> bytes | None:
    """Return what the response to a packet depends on; None if the packet is not the usual kind.

    The usual kind is opcode QUERY, one question, and nothing else but perhaps an OPT of version 0,
    whose options do not matter. The key is the question's octets, its letters in lower case, and
    one octet for "no EDNS", "EDNS" or "EDNS with DO". It is found without walking the name, up to
    its first zero octet; whether that really is the end is checked when a reply is remembered, and
    every packet with the same key then has the same labels (only letters of labels differ, because
    the octets of lengths are below 64), and so the same end.
    """
    if data[2] & ~wire.RD & 0xFF:
        return None
    end = data.find(0, wire.HEADER_OCTETS) + 1
    if not end:
        return None
    kind = b"\0"
    counts = data[4 : wire.HEADER_OCTETS]
    if counts == _ONE_QUESTION:
        if len(data) != end + 4:
            return None
    else:
        opt = end + 4
        if (
            counts != _ONE_QUESTION_AND_OPT
            or len(data) < opt + wire.OPT_OCTETS
            or data[opt : opt + 3] != _OPT_START
            or data[opt + 6]  # version
            or len(data) != opt + wire.OPT_OCTETS + (data[opt + 9] << 8 | data[opt + 10])
        ):
            return None
        kind = b"\2" if data[opt + 7] & 0x80 else b"\1"
    return data[wire.HEADER_OCTETS : end].lower() + data[end : end + 4] + kind


def _datagram_limit(data: bytes, question_end: int) -> int:
    """Return :func:`watchducks.nameserver.wire.size_limit` for a packet that has a cache key."""
    if len(data) == question_end:
        return wire.MIN_UDP_OCTETS
    octets = data[question_end + 3] << 8 | data[question_end + 4]
    return min(max(octets, wire.MIN_UDP_OCTETS), wire.MAX_UDP_OCTETS)
