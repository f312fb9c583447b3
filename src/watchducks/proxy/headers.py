"""Which header fields go where (RFC 9110 section 7.6). Pure functions.

A proxy has two kinds of fields: those for the next hop alone, which end here, and those from end to
end, which pass in their order and spelling. Fields that an origin believes about its visitors are
ours to write, never a visitor's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from watchducks.proxy.framing import CHUNKED, UNTIL_CLOSE, Trailers
from watchducks.proxy.heads import Fields

PSEUDONYM: Final = b"watchducks"
# What the next hop is told, by the protocol of the one before (RFC 9110 section 7.6.3).
VIA: Final = {
    "HTTP/1.0": b"Via: 1.0 watchducks\r\n",
    "HTTP/1.1": b"Via: 1.1 watchducks\r\n",
    "HTTP/2": b"Via: 2.0 watchducks\r\n",
}

# RFC 9110 section 7.6.1 and RFC 2616 section 13.5.1. TE and Trailer are said anew where trailers
# pass, Connection and Upgrade where a tunnel begins.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Said to the origin by us; what a visitor claims about himself is dropped.
OURS: Final = frozenset(
    {
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-request-id",
    }
)
# Names that must not reach an origin in a disguise that it undoes.
PROTECTED_FIELDS: Final = HOP_BY_HOP | OURS | {b"cdn-loop", b"content-length", b"host", b"via"}

# What Connection may not take away: the length belongs to the message, and a loop without CDN-Loop
# would never end (RFC 8586 section 2).
_NOT_BY_CONNECTION: Final = frozenset({b"content-length", b"cdn-loop"})
# Fields that would change how a message is understood after it has been acted upon (RFC 9110
# section 6.5.1): framing, routing, conditions, authentication, and what describes the content.
_NOT_IN_TRAILERS: Final = PROTECTED_FIELDS | frozenset(
    b"age authorization cache-control content-encoding content-range content-type cookie date"
    b" expect expires if-match if-modified-since if-none-match if-range if-unmodified-since"
    b" location max-forwards pragma range retry-after set-cookie strict-transport-security vary"
    b" www-authenticate".split()
)
# Spellings of field names that are remembered, and how long they may be: what browsers and
# servers send is a few hundred short ones; the bounds hold against those who invent new ones.
_KEPT_SPELLINGS: Final = 1024
_KEPT_SPELLING_BYTES: Final = 64


class Names(dict[bytes, bool]):
    """Whether a name, however it is spelled, is one of some: ``names[spelled]``.

    They come in few spellings, so that looking one up is cheaper than lower-casing it each time.

    :ivar lower: the names, lower-case.
    """

    def __init__(self, lower: frozenset[bytes]) -> None:
        super().__init__()
        self.lower = lower

    def __missing__(self, name: bytes) -> bool:
        found = name.lower() in self.lower
        if len(self) < _KEPT_SPELLINGS and len(name) <= _KEPT_SPELLING_BYTES:
            self[name] = found
        return found


_NOT_FROM_VISITOR: Final = HOP_BY_HOP | OURS | {b"content-length", b"host"}
_NOT_FROM_ORIGIN: Final = HOP_BY_HOP | {b"x-request-id"}
_LENGTH: Final = frozenset({b"content-length"})
_HSTS: Final = frozenset({b"strict-transport-security"})
_TRAILER: Final = frozenset({b"trailer"})
_TO_ORIGIN: Final = Names(_NOT_FROM_VISITOR)
_TO_ORIGIN_CHUNKED: Final = Names(_NOT_FROM_VISITOR - _TRAILER)
_TO_ORIGIN_FROM_1_0: Final = Names(_NOT_FROM_VISITOR | {b"expect"})
# By (there is no length to say, trailers follow, we say HSTS).
_TO_VISITOR: Final = {
    (unsized, trailers, hsts): Names(
        (_NOT_FROM_ORIGIN - (_TRAILER if trailers else frozenset()))
        | (_LENGTH if unsized else frozenset())
        | (_HSTS if hsts else frozenset())
    )
    for unsized in (False, True)
    for trailers in (False, True)
    for hsts in (False, True)
}
_TO_VISITOR_INTERIM: Final = _TO_VISITOR[True, False, False]
# Options of Connection that name no field of a request, so that nothing needs to be filtered.
_COMMON_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})


def connection_options(values: Iterable[bytes]) -> frozenset[bytes]:
    """Return the options of a message's Connection fields, lower-case."""
    return frozenset(
        option for value in values for part in value.split(b",") if (option := part.strip().lower())
    )


def end_to_end(fields: Fields, drops: Names, options: frozenset[bytes]) -> list[bytes]:
    """Return the lines of ``fields`` without those dropped and those that Connection names.

    :param drops: drops :data:`HOP_BY_HOP` at least.
    :param options: the message's :func:`connection_options`.
    """
    if options and not options <= _COMMON_OPTIONS:
        drops = Names(drops.lower | (options - _NOT_BY_CONNECTION))
    return [b"%b: %b\r\n" % field for field in fields if not drops[field[0]]]


def trailers_to_pass(trailers: Trailers) -> Trailers:
    """Return those that may stand after a body, in their order and spelling."""
    return [
        field for field in trailers if field[0].lower().replace(b"_", b"-") not in _NOT_IN_TRAILERS
    ]


def is_looped(cdn_loop: bytes) -> bool:
    """Return whether a CDN-Loop field (RFC 8586) says that we have forwarded this request."""
    return any(
        item.partition(b";")[0].strip().lower() == PSEUDONYM for item in cdn_loop.split(b",")
    )


class VisitorFields:
    """What we tell origins about one visitor, made once for his connection.

    :param address: his IP address as text; "" if he came by a socket that has none.
    :param scheme: ``http`` or ``https``.
    """

    __slots__ = ("_about", "_authority", "_forwarded", "_lines")

    def __init__(self, address: str, scheme: str) -> None:
        address = address or "unknown"
        node = f'"[{address}]"' if ":" in address else address  # RFC 7239 section 6
        self._about = f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\n".encode()
        self._forwarded = f"Forwarded: for={node};proto={scheme};host=".encode()
        self._authority = self._lines = b""

    def of_request(self, authority: bytes) -> bytes:
        """Return the lines for a request to ``authority``, the Host field as it was sent."""
        if authority != self._authority:  # a connection's requests are mostly to one
            self._authority = authority
            self._lines = b'%bX-Forwarded-Host: %b\r\n%b"%b"\r\n' % (
                self._about,
                authority,
                self._forwarded,
                authority,
            )
        return self._lines


def to_origin(
    method: bytes,
    authority: bytes,
    fields: Fields,
    *,
    protocol: str,
    options: frozenset[bytes],
    length: int,
    visitor: VisitorFields,
    trailers: bool = False,
    upgrade: bytes = b"",
) -> bytes:
    """Return the lines of the request to the origin: all that does not change with its target.

    :param protocol: by which the visitor sent it: a key of :data:`VIA`.
    :param length: of the body; 0 if there is none.
    :param trailers: the visitor takes trailers.
    :param upgrade: the protocol that the visitor wants to speak from here on; b"": none.
    """
    # A 1.0 visitor cannot be told to continue (RFC 9110 section 10.1.1).
    drops = _TO_ORIGIN_FROM_1_0 if protocol == "HTTP/1.0" else _TO_ORIGIN
    if length == CHUNKED:
        drops = _TO_ORIGIN_CHUNKED
    lines = end_to_end(fields, drops, options)
    if upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade)
    elif trailers:
        lines.append(b"Connection: TE\r\nTE: trailers\r\n")
    if length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length or method not in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
        # RFC 9110 section 8.6: 0 is said for methods that usually have a body.
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"Host: %b\r\n%b%bCDN-Loop: watchducks\r\n%b" % (
        authority,
        b"".join(lines),
        visitor.of_request(authority),
        VIA[protocol],
    )


def origin_head(method: bytes, target: bytes, lines: bytes, request_id: bytes) -> bytes:
    """Return the head of the request to the origin, complete with the empty line.

    :param lines: from :func:`to_origin`.
    """
    return b"%b %b HTTP/1.1\r\n%bX-Request-Id: %b\r\n\r\n" % (method, target, lines, request_id)


def to_visitor(
    fields: Fields,
    *,
    minor: int,
    options: frozenset[bytes],
    length: int,
    status: int,
    trailers: bool = False,
    hsts_seconds: int = 0,
) -> bytes:
    """Return the lines of an answer's end-to-end fields, ours but the request's id included.

    How its body is framed for the visitor's hop is left to the caller, but for a Content-Length,
    which is the origin's.

    :param minor: of the HTTP version by which the origin answered.
    :param length: of the answer's body.
    :param trailers: trailers that follow the body are passed on, so what announces them is.
    :param hsts_seconds: for which browsers are to use https alone; then it replaces what the origin
        says about that. 0: the origin's word stands.
    """
    # Neither a chunked body nor 1xx and 204 may have a length (RFC 9110 section 8.6).
    has_none = length in (CHUNKED, UNTIL_CLOSE) or status < 200 or status == 204
    drops = _TO_VISITOR[has_none, trailers, hsts_seconds > 0]
    lines = end_to_end(fields, drops, options)
    if hsts_seconds:
        lines.append(hsts_line(hsts_seconds))
    lines.append(b"Via: 1.%d watchducks\r\n" % minor)
    return b"".join(lines)


def request_id_line(request_id: bytes) -> bytes:
    """Return the field by which an answer is found in logs."""
    return b"X-Request-Id: %b\r\n" % request_id


def hsts_line(seconds: int) -> bytes:
    """Return the field that binds browsers to https (RFC 6797)."""
    return b"Strict-Transport-Security: max-age=%d\r\n" % seconds


def interim_to_visitor(fields: Fields, options: frozenset[bytes]) -> list[bytes]:
    """Return the lines of a 1xx answer's end-to-end fields."""
    return end_to_end(fields, _TO_VISITOR_INTERIM, options)


def tunnel_to_visitor(
    fields: Fields, options: frozenset[bytes], request_id: bytes, *, with_accept: bool
) -> list[bytes]:
    """Return the lines of a 101 answer's end-to-end fields, ours included.

    :param with_accept: pass Sec-WebSocket-Accept on, which HTTP/2 does not have (RFC 8441).
    """
    lines = [
        line
        for line in interim_to_visitor(fields, options)
        if with_accept or not line.lower().startswith(b"sec-websocket-accept:")
    ]
    lines.append(b"Via: 1.1 watchducks\r\nX-Request-Id: %b\r\n" % request_id)
    return lines
