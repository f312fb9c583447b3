"""EDNS options: what a response says to those of a question."""

from __future__ import annotations

from typing import Final, NamedTuple

from watchducks.nameserver.cookies import Cookies
from watchducks.nameserver.wire import read_options, write_option

NSID: Final = 3  # RFC 5001
COOKIE: Final = 10  # RFC 7873
TCP_KEEPALIVE: Final = 11  # RFC 7828


class Extra(NamedTuple):
    """What the options of a question lead to.

    :ivar options: ready octets for the response's OPT. :ivar known: a valid cookie was shown.
    """

    options: bytes
    known: bool


NOTHING: Final = Extra(b"", known=False)


class Options:
    """Answers the options we know; all others are ignored (RFC 6891 section 6.1.2).

    :ivar cookies: for those who know that there is a cookie and nothing else.
    """

    def __init__(self, cookies: Cookies, *, nsid: str, idle_seconds: float) -> None:
        """
        :param nsid: what tells this server from the others; "": it is not told.
        :param idle_seconds: how long a TCP connection may be idle.
        """
        self.cookies = cookies
        self._nsid = write_option(NSID, nsid.encode()) if nsid else b""
        # In units of 100 ms.
        self._keepalive = write_option(TCP_KEEPALIVE, int(idle_seconds * 10).to_bytes(2, "big"))

    def respond(self, asked: bytes, host: str, *, datagram: bool) -> Extra:
        """Return what to respond to the RDATA of a question's OPT with.

        :raises Malformed: it is not a list of options, or a cookie has an impossible length.
        """
        found = read_options(asked)
        if not found:
            return NOTHING
        extra, known = b"", False
        cookie = found.get(COOKIE)
        if cookie is not None:
            extra, known = self.cookies.respond(cookie, host)
        if NSID in found:
            extra += self._nsid
        if TCP_KEEPALIVE in found and not datagram:
            extra += self._keepalive
        return Extra(extra, known)
