"""Ready replies: what of a response is the same for every asker, and where it is kept."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from twisted.names import dns

from watchducks.nameserver import wire
from watchducks.nameserver.counts import Subject
from watchducks.nameserver.guard import Kind
from watchducks.nameserver.wire import Query, Reply

T = TypeVar("T")

# Some 600 octets each with key and table, so 12 MB: the hot part of 100,000 zones.
MAX_CACHED_REPLIES: Final = 20_000
# What does not exist has a cache of its own, and so do names that only a wildcard makes exist:
# whoever asks for random names fills this one and pushes nothing out of the other. Resolvers ask
# again for few of those: the AAAA of the names in use, and the mistakes of a zone's visitors.
MAX_CACHED_OTHERS: Final = 5_000
# Datagrams that come again octet for octet, but for id and cookie: those of resolvers without
# random letter case. Some 250 octets each, so 1 MB each with cookies and without; most questions
# are for few names.
MAX_EXACT: Final = 5_000
# Larger ones go by TCP, where a cache saves the smaller part; this keeps an entry's size in bounds.
MAX_CACHED_OCTETS: Final = wire.MAX_UDP_OCTETS
# Everything is forgotten this often, though nothing changed, so that signatures, which have times
# in them, never come from long ago.
MAX_CACHE_SECONDS: Final = 600.0

_ONE_QUESTION: Final = bytes((0, 1, 0, 0, 0, 0, 0, 0))
_ONE_QUESTION_AND_OPT: Final = bytes((0, 1, 0, 0, 0, 0, 0, 1))
# How an option with a cookie begins (RFC 7873): a client's alone, and with ours.
_CLIENT_COOKIE: Final = bytes((0, 10, 0, 8))
_BOTH_COOKIES: Final = bytes((0, 10, 0, 24))
# The root as owner, and the type: how an OPT record begins.
_OPT_START: Final = bytes((0, 0, dns.OPT))


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

    def render(self, query: bytes, end: int, *, cut: bool = False) -> bytes:
        """Return the response to the packet ``query``, whose question ends at ``end``.

        :param cut: without records, and with TC.
        """
        heads, sections = (self.cut, self.opt) if cut else (self.heads, self.sections)
        head = heads[query[2] & wire.RD | query[3] & wire.CD]
        return query[:2] + head + query[wire.HEADER_OCTETS : end] + sections


class Exact(NamedTuple):
    """The response to one datagram but for its id, which comes before ``response``, and for its
    cookie, which comes after."""

    response: bytes
    ready: Ready


def cookie_octets(data: bytes) -> int:
    """Return how many octets of a cookie a datagram seems to end with: 0, or those of a client
    cookie without or with a server cookie of ours."""
    if data[-12:-8] == _CLIENT_COOKIE:
        return 8
    return 24 if data[-28:-24] == _BOTH_COOKIES else 0


class ReplyCache:
    """What was answered, until a zone or a verdict changes.

    :ivar replies: of names that exist. :ivar others: of all others. Both by :func:`cache_key`.
    :ivar exact: by the octets of the datagram behind its id, for those without EDNS options.
    :ivar cookie: by the same without the cookie, for those with a cookie and nothing else.
    """

    def __init__(self) -> None:
        self.replies: dict[bytes, Ready] = {}
        self.others: dict[bytes, Ready] = {}
        self.exact: dict[bytes, Exact] = {}
        self.cookie: dict[bytes, Exact] = {}
        self._zones_revision = -1
        self._verdicts_revision = -1
        self._forget_at = 0.0

    def keep_up(self, zones_revision: int, verdicts_revision: int, now: float) -> None:
        """Forget everything if it may be wrong by now. :param now: seconds."""
        if (
            zones_revision == self._zones_revision
            and verdicts_revision == self._verdicts_revision
            and now < self._forget_at
        ):
            return
        self.replies.clear()
        self.others.clear()
        self.exact.clear()
        self.cookie.clear()
        self._zones_revision = zones_revision
        self._verdicts_revision = verdicts_revision
        self._forget_at = now + MAX_CACHE_SECONDS

    def remember(self, key: bytes, ready: Ready, *, good: bool) -> None:
        """:param good: a name that exists, with records."""
        if good:
            _remember(self.replies, MAX_CACHED_REPLIES, key, ready)
        else:
            _remember(self.others, MAX_CACHED_OTHERS, key, ready)

    def remember_exact(
        self, query: bytes, options: bytes, key: bytes, response: bytes, ready: Ready
    ) -> None:
        """Remember the response to a datagram whose cache key is ``key``, if it may come again.

        Random letter case does not come again, nor do options other than a cookie.

        :param options: those of the query.
        """
        end = query.find(0, wire.HEADER_OCTETS)
        if not key.startswith(query[wire.HEADER_OCTETS : end]):
            return
        if not options:
            _remember(self.exact, MAX_EXACT, query[2:], Exact(response[2:], ready))
            return
        octets = cookie_octets(options)
        if octets and len(options) == octets + 4:
            # The response ends with both cookies.
            _remember(self.cookie, MAX_EXACT, query[2:-octets], Exact(response[2:-24], ready))


def make_ready(
    reply: Reply, query: Query, zone: bytes, *, spare: bool, absent: bool = False
) -> Ready:
    """Make a reply ready to be sent and kept.

    :param zone: the apex of the zone it comes from; b"": none of ours.
    :param spare: see :class:`Ready`.
    :param absent: there is no such name, which a signed reply says with NOERROR; counted as such.
    """
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
        Subject(zone, query.question.type, dns.ENAME if absent else rcode),
    )


@lru_cache(maxsize=1_000)  # few numbers of records are in use, and whoever needs more pays for it
def _heads(first: int, second: int, counts: bytes) -> dict[int, bytes]:
    """Return flags and counts by the RD and CD bits of a question."""
    return {
        rd | cd: bytes((first | rd, second | cd)) + counts
        for rd in (0, wire.RD)
        for cd in (0, wire.CD)
    }


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


def _remember(cache: dict[bytes, T], most: int, key: bytes, value: T) -> None:
    if len(cache) >= most:
        del cache[next(iter(cache))]
    cache[key] = value
