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
about a signed zone, keys away          SERVFAIL, a header alone
the same, too many signatures made      TC by UDP, SERVFAIL by TCP
our own failure while answering         SERVFAIL, a header alone; logged
======================================  ==================================

What is to be sent by UDP then passes :mod:`watchducks.nameserver.guard`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import dns

from watchducks.model.verdicts import Verdicts
from watchducks.nameserver import wire
from watchducks.nameserver.answer import Answer, answer
from watchducks.nameserver.counts import Counts, Subject
from watchducks.nameserver.guard import MAX_AMPLIFICATION, Kind, RateLimit, Verdict, network_of
from watchducks.nameserver.identity import Identity
from watchducks.nameserver.options import NOTHING, Options
from watchducks.nameserver.signatures import CannotSign, TooManySignatures
from watchducks.nameserver.signing import Signer
from watchducks.nameserver.wire import Malformed, Query, Reply
from watchducks.nameserver.zones import ZoneTable

# Some 600 octets each with key and table, so 12 MB: the hot part of 100,000 zones.
MAX_CACHED_REPLIES: Final = 20_000
# What does not exist has a cache of its own, and so do names that only a wildcard makes exist:
# whoever asks for random names fills this one and pushes nothing out of the other. Resolvers ask
# again for few of those: the AAAA of the names in use, and the mistakes of a zone's visitors.
MAX_CACHED_OTHERS: Final = 5_000
# Larger ones go by TCP, where a cache saves the smaller part; this keeps an entry's size in bounds.
MAX_CACHED_OCTETS: Final = wire.MAX_UDP_OCTETS
# Everything is forgotten this often, though nothing changed, so that signatures, which have times
# in them, never come from long ago.
MAX_CACHE_SECONDS: Final = 600.0
# One report of a failure this often, with the number of those left out: a packet that makes us
# fail can be sent a hundred thousand times a second.
FAILURE_REPORT_SECONDS: Final = 10.0

_ONE_QUESTION: Final = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_ONE_QUESTION_AND_OPT: Final = bytes((0, 1, 0, 0, 0, 0, 0, 1))
# The root as owner, and the type: how an OPT record begins.
_OPT_START: Final = bytes((0, 0, dns.OPT))
_OUTSIDE: Final = b""
# Others (the address of an ALIAS that is not known yet) may be different in a moment.
_LASTING: Final = frozenset((dns.OK, dns.ENAME, dns.EREFUSED))


@dataclass(frozen=True, slots=True)
class Ready:
    """A reply with what is needed to send it.

    :ivar heads: the octets between id and question, by the RD and CD bits to be echoed.
    :ivar cut: the same for a response without records, TC set.
    :ivar sections: everything behind the question.
    :ivar opt: the OPT at its end; b"" without EDNS.
    :ivar spare: it has additional records, so that a smaller one may do without TC.
    """

    heads: dict[int, bytes]
    cut: dict[int, bytes]
    sections: bytes
    opt: bytes
    spare: bool
    kind: Kind
    subject: Subject


class Responder:
    """Answers packets, for any number of sockets. Never raises.

    Ready responses are kept by question and kind of EDNS, so that a repeated question costs a
    look-up and the patching of what differs. They are forgotten with every change of a zone or a
    verdict, which both are rarer than questions by orders of magnitude.
    """

    _log = Logger()

    def __init__(
        self,
        zones: ZoneTable,
        verdicts: Verdicts,
        *,
        clock: IReactorTime,
        options: Options | None = None,
        limit: RateLimit | None = None,
        counts: Counts | None = None,
        identity: Identity | None = None,
        signer: Signer | None = None,
    ) -> None:
        """
        :param options: None: they are ignored, and everyone is taken to be where he says he is.
        :param limit: None: no response rate limiting.
        :param counts: None: nothing is counted.
        :param identity: None: nobody is told which server this is.
        :param signer: None: no zone is signed.
        """
        self._zones = zones
        self._verdicts = verdicts
        self._signer = signer
        self._clock = clock
        self._options = options
        self._limit = limit
        self._counts = counts
        self._identity = identity
        self._replies: dict[bytes, Ready] = {}
        self._others: dict[bytes, Ready] = {}
        self._revisions = (-1, -1)
        self._forget_at = 0.0
        self._failures = 0
        self._reported: float | None = None

    def respond(self, data: bytes, host: str = "", *, datagram: bool) -> bytes | None:
        """Return the response to one packet; None: let it go unanswered.

        :param host: the client's address; "": it has none.
        :param datagram: it came by UDP, so the response has limits of its own.
        """
        if not wire.is_query(data):
            return None
        try:
            return self._cached(data, host, datagram=datagram)
        except Malformed:
            rcode = dns.EFORMAT
        except (CannotSign, TooManySignatures):
            rcode = dns.ESERVER
        except Exception:  # whatever it is, it concerns this packet alone
            self._report_failure()
            rcode = dns.ESERVER
        return self._bare(data, host, rcode, datagram=datagram)

    def _cached(self, data: bytes, host: str, *, datagram: bool) -> bytes | None:
        revisions = (self._zones.revision, self._verdicts.revision)
        if revisions != self._revisions or self._clock.seconds() >= self._forget_at:
            self._forget(revisions)
        key = cache_key(data)
        ready = None
        if key is not None:
            ready = self._replies.get(key) or self._others.get(key)
        if key is None or ready is None:
            return self._answered(data, key, host, datagram=datagram)
        # The key's own question is the packet's, so it ends where the key says (see cache_key).
        end = data.find(0, wire.HEADER_OCTETS) + 5
        if len(data) == end:
            return self._sent(data, end, wire.MIN_UDP_OCTETS, b"", ready, host, datagram=datagram)
        octets = data[end + 3] << 8 | data[end + 4]
        options = data[end + wire.OPT_OCTETS :]
        return self._sent(data, end, octets, options, ready, host, datagram=datagram)

    def _forget(self, revisions: tuple[int, int]) -> None:
        self._replies.clear()
        self._others.clear()
        self._revisions = revisions
        self._forget_at = self._clock.seconds() + MAX_CACHE_SECONDS

    def _answered(
        self, data: bytes, key: bytes | None, host: str, *, datagram: bool
    ) -> bytes | None:
        if data[2] & wire.OPCODE:
            return self._bare(data, host, dns.ENOTIMP, datagram=datagram)
        query = wire.parse_query(data)
        edns = query.edns
        if edns is not None and edns.version != 0:
            subject = Subject(_OUTSIDE, 0, wire.BADVERS)
            response = wire.bad_version(query, data)
            return response if self._may_send(subject, host, datagram=datagram) else None
        try:
            ready = self._ready(query, key, data, datagram=datagram)
        except TooManySignatures:
            if not datagram:
                raise
            ready = _make_ready(wire.come_by_tcp(query), query, _OUTSIDE, spare=False)
        size, options = (edns.udp_octets, edns.options) if edns else (wire.MIN_UDP_OCTETS, b"")
        return self._sent(data, query.end + 4, size, options, ready, host, datagram=datagram)

    def _ready(self, query: Query, key: bytes | None, data: bytes, *, datagram: bool) -> Ready:
        """Answer a question, and remember the answer if it may come again."""
        question = query.question
        if question.cls == dns.CH and self._identity is not None:
            return _make_ready(self._identity.reply(query), query, _OUTSIDE, spare=False)
        answered = self._answer(query, datagram=datagram)
        zone = _OUTSIDE if answered.zone is None else answered.zone.apex
        reply = wire.encode(query, answered, wire.MAX_TCP_OCTETS)
        ready = _make_ready(reply, query, zone, spare=bool(answered.additional))
        if (
            key is not None
            # A label may hold a zero octet; then the key does not end where the name does.
            and data.find(0, wire.HEADER_OCTETS) + 1 == query.end
            and query.end + 4 + len(reply.sections) <= MAX_CACHED_OCTETS
            and answered.rcode in _LASTING
        ):
            if answered.answers and self._exists(question.name):
                _remember(self._replies, MAX_CACHED_REPLIES, key, ready)
            else:
                _remember(self._others, MAX_CACHED_OTHERS, key, ready)
        return ready

    def _answer(self, query: Query, *, datagram: bool) -> Answer:
        answered = answer(self._zones, self._verdicts, query.question)
        if self._signer is None:
            return answered
        return self._signer.sign(query, answered, datagram=datagram)

    def _exists(self, name: bytes) -> bool:
        """Whether the zone has records of that very name, and not only a wildcard for it."""
        found = self._zones.find(name)
        return found is not None and self._zones.node(*found) is not None

    def _sent(
        self,
        data: bytes,
        end: int,
        size: int,
        asked: bytes,
        ready: Ready,
        host: str,
        *,
        datagram: bool,
    ) -> bytes | None:
        """Return what is sent of ``ready`` to this client.

        :param end: where the question ends in ``data``.
        :param size: what the client takes in one datagram, as it says.
        :param asked: its EDNS options.
        """
        extra = NOTHING
        if asked and self._options is not None:
            extra = self._options.respond(asked, host, datagram=datagram)
        network = network_of(host)
        if self._counts is not None:
            self._counts.add(ready.subject, network)
        cut = False
        if datagram:
            most = min(max(size, wire.MIN_UDP_OCTETS), wire.MAX_UDP_OCTETS)
            if not extra.known and self._options is not None:
                most = min(most, MAX_AMPLIFICATION * len(data))
                if self._limit is not None:
                    verdict = self._limit.verdict(network, ready.kind)
                    if verdict is Verdict.DROP:
                        return None
                    cut = verdict is Verdict.TRUNCATE
            if end + len(ready.sections) + len(extra.options) > most:
                if ready.spare and not cut:
                    ready = self._smaller(data, most - len(extra.options), ready)
                    cut = end + len(ready.sections) + len(extra.options) > most
                else:
                    cut = True
        echoed = data[2] & wire.RD | data[3] & wire.CD
        if cut:
            heads, sections = ready.cut, ready.opt
        else:
            heads, sections = ready.heads, ready.sections
        response = data[:2] + heads[echoed] + data[wire.HEADER_OCTETS : end] + sections
        if extra.options:
            # The OPT is the last record, and the length of its data the last two octets.
            return response[:-2] + len(extra.options).to_bytes(2, "big") + extra.options
        return response

    def _smaller(self, data: bytes, limit: int, whole: Ready) -> Ready:
        """Return the same reply without additional records, if that is within ``limit``."""
        query = wire.parse_query(data)
        reply = wire.encode(query, self._answer(query, datagram=True), limit)
        return _make_ready(reply, query, whole.kind.zone, spare=False)

    def _bare(self, data: bytes, host: str, rcode: int, *, datagram: bool) -> bytes | None:
        """Return a response of nothing but a header, unless there were too many of them."""
        subject = Subject(_OUTSIDE, 0, rcode)
        if not self._may_send(subject, host, datagram=datagram):
            return None
        return wire.bare_response(data, rcode)

    def _may_send(self, subject: Subject, host: str, *, datagram: bool) -> bool:
        """Count a response that cannot be made smaller, and return whether it is sent."""
        network = network_of(host)
        if self._counts is not None:
            self._counts.add(subject, network)
        if not datagram or self._limit is None:
            return True
        return self._limit.verdict(network, _ERRORS) is not Verdict.DROP

    def _report_failure(self) -> None:
        self._failures += 1
        now = self._clock.seconds()
        if self._reported is None or now - self._reported >= FAILURE_REPORT_SECONDS:
            self._log.failure("{count} questions were answered with SERVFAIL", count=self._failures)
            self._reported = now
            self._failures = 0


_ERRORS: Final = Kind(_OUTSIDE, b"error")


def _make_ready(reply: Reply, query: Query, zone: bytes, *, spare: bool) -> Ready:
    first, rcode = reply.flags
    opt = reply.sections[-wire.OPT_OCTETS :] if query.edns is not None else b""
    if reply.counts[2:4] != b"\0\0":
        outcome = b""
    else:
        outcome = b"error" if rcode not in (dns.OK, dns.ENAME) else b"%d" % rcode
    empty = struct.pack("!4H", 1, 0, 0, len(opt) > 0)
    return Ready(
        _heads(first, rcode, reply.counts),
        _heads(first | wire.TC, rcode, empty),
        reply.sections,
        opt,
        spare,
        Kind(zone, outcome),
        Subject(zone, query.question.type, rcode),
    )


@lru_cache(maxsize=1_000)  # few numbers of records are in use, and whoever needs more pays for it
def _heads(first: int, second: int, counts: bytes) -> dict[int, bytes]:
    """Return flags and counts by the RD and CD bits of a question."""
    return {
        rd | cd: bytes((first | rd, second | cd)) + counts
        for rd in (0, wire.RD)
        for cd in (0, wire.CD)
    }


def _remember(cache: dict[bytes, Ready], most: int, key: bytes, ready: Ready) -> None:
    if len(cache) >= most:
        del cache[next(iter(cache))]
    cache[key] = ready


def cache_key(data: bytes) -> bytes | None:
    """Return what the response to a packet depends on; None if the packet is not the usual kind.

    The usual kind is opcode QUERY, one question, and nothing else but perhaps an OPT of version 0,
    whose options do not matter. The key is the question's octets, its letters in lower case, and
    one octet for "no EDNS", "EDNS", "with DO" or "with DO and CO". It is found without walking the
    name, up to its first zero octet; whether that really is the end is checked when a reply is
    remembered, and every packet with the same key then has the same labels (only letters of labels
    differ, because the octets of lengths are below 64), and so the same end.
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
        flags = data[opt + 7]
        kind = b"\1" if not flags & 0x80 else b"\3" if flags & 0x40 else b"\2"
    return data[wire.HEADER_OCTETS : end].lower() + data[end : end + 4] + kind
