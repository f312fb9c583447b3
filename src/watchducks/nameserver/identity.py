"""Which of several name servers this is, for those who look for a fault (RFC 4892).

Off unless ``nameserver.nsid`` is set, and the program's version is never told.
"""

from __future__ import annotations

import struct
from typing import Final

from twisted.names import dns

from watchducks.nameserver import wire
from watchducks.nameserver.answer import Answer
from watchducks.nameserver.records import wire_name
from watchducks.nameserver.wire import Query, Reply

_NAMES: Final = frozenset((wire_name("id.server"), wire_name("hostname.bind")))


class Identity:
    """Replies to questions of class CHAOS."""

    def __init__(self, nsid: str) -> None:
        """:param nsid: ASCII, at most 255 characters."""
        text = nsid.encode("ascii")
        # Owner: a pointer to the question. TTL 0: the next question may go to another server.
        head = struct.pack("!HHHLHB", 0xC00C, dns.TXT, dns.CH, 0, 1 + len(text), len(text))
        self._record = head + text

    def reply(self, query: Query) -> Reply:
        """Return the reply to a question of that class: our name, or REFUSED."""
        question = query.question
        if question.name not in _NAMES or question.type != dns.TXT:
            return wire.encode(query, Answer(dns.EREFUSED), wire.MAX_UDP_OCTETS)
        opt = b""
        if query.edns is not None:
            opt = wire.opt_record(0, dnssec_ok=query.edns.dnssec_ok)
        counts = struct.pack("!4H", 1, 1, 0, len(opt) > 0)
        return Reply((wire.QR | wire.AA, dns.OK), counts, self._record + opt)
