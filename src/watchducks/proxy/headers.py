"""Which header fields go where (RFC 9110 section 7.6). Pure functions.

A proxy has two kinds of fields: those for the next hop alone, which end here, and those from end to
end, which pass in their order and spelling. Fields that an origin believes about its visitors are
ours to write, never a visitor's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from watchducks.proxy.framing import CHUNKED, UNTIL_CLOSE
from watchducks.proxy.heads import Fields

PSEUDONYM: Final = b"watchducks"

# RFC 9110 section 7.6.1 and RFC 2616 section 13.5.1. Trailer: the trailers themselves are dropped.
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
PROTECTED_FIELDS: Final = HOP_BY_HOP | OURS | {b"content-length", b"host", b"via"}

_NOT_TO_ORIGIN: Final = HOP_BY_HOP | OURS | {b"content-length", b"host"}
_NOT_TO_ORIGIN_1_0: Final = _NOT_TO_ORIGIN | {b"expect"}
_NOT_TO_VISITOR: Final = HOP_BY_HOP | {b"x-request-id"}
_NOT_TO_VISITOR_WITHOUT_BODY: Final = _NOT_TO_VISITOR | {b"content-length"}
# Options of Connection that name no field of a request, so that nothing needs to be filtered.
_COMMON_OPTIONS: Final = frozenset({b"close", b"keep-alive", b"upgrade", b"te"})


def connection_options(values: Iterable[bytes]) -> frozenset[bytes]:
    """Return the options of a message's Connection fields, lower-case."""
    return frozenset(
        option for value in values for part in value.split(b",") if (option := part.strip().lower())
    )


def end_to_end(fields: Fields, dropped: frozenset[bytes], options: frozenset[bytes]) -> Fields:
    """Return ``fields`` without those in ``dropped`` and those that Connection names.

    :param dropped: lower-case names, :data:`HOP_BY_HOP` among them.
    :param options: the message's :func:`connection_options`.
    """
    if not options <= _COMMON_OPTIONS:
        # The length belongs to the message, whatever Connection says.
        dropped |= options - {b"content-length"}
    return [field for field in fields if field[0].lower() not in dropped]


class VisitorFields:
    """What we tell origins about one visitor, made once for his connection.

    :param address: his IP address as text.
    :param scheme: ``http`` or ``https``.
    """

    __slots__ = ("_about", "_forwarded")

    def __init__(self, address: str, scheme: str) -> None:
        node = f'"[{address}]"' if ":" in address else address  # RFC 7239 section 6
        self._about = f"X-Forwarded-For: {address}\r\nX-Forwarded-Proto: {scheme}\r\n".encode()
        self._forwarded = f"Forwarded: for={node};proto={scheme};host=".encode()

    def of_request(self, authority: bytes) -> bytes:
        """Return the lines for a request to ``authority``, the Host field as it was sent."""
        return b'%bX-Forwarded-Host: %b\r\n%b"%b"\r\n' % (
            self._about,
            authority,
            self._forwarded,
            authority,
        )


def to_origin(
    method: bytes,
    target: bytes,
    authority: bytes,
    fields: Fields,
    *,
    minor: int,
    options: frozenset[bytes],
    length: int,
    visitor: VisitorFields,
    request_id: bytes,
) -> bytes:
    """Return the head of the request to the origin.

    :param minor: of the HTTP version by which the visitor sent it.
    :param length: of the body; 0 if there is none.
    """
    # A 1.0 visitor cannot be told to continue (RFC 9110 section 10.1.1).
    passed = end_to_end(fields, _NOT_TO_ORIGIN if minor else _NOT_TO_ORIGIN_1_0, options)
    lines = [b"%b: %b\r\n" % field for field in passed]
    if length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked\r\n")
    elif length or method not in (b"GET", b"HEAD", b"OPTIONS", b"DELETE"):
        # RFC 9110 section 8.6: 0 is said for methods that usually have a body.
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%bX-Request-Id: %b\r\nVia: 1.%d %b\r\n\r\n" % (
        method,
        target,
        authority,
        b"".join(lines),
        visitor.of_request(authority),
        request_id,
        minor,
        PSEUDONYM,
    )


def to_visitor(
    fields: Fields,
    *,
    minor: int,
    options: frozenset[bytes],
    length: int,
    status: int,
    request_id: bytes,
) -> list[bytes]:
    """Return the lines of an answer's end-to-end fields, ours included.

    How its body is framed for the visitor's hop is left to the caller, but for a Content-Length,
    which is the origin's.

    :param minor: of the HTTP version by which the origin answered.
    :param length: of the answer's body.
    """
    # Neither a chunked body nor 1xx and 204 may have a length (RFC 9110 section 8.6).
    has_none = length in (CHUNKED, UNTIL_CLOSE) or status < 200 or status == 204
    dropped = _NOT_TO_VISITOR_WITHOUT_BODY if has_none else _NOT_TO_VISITOR
    lines = [b"%b: %b\r\n" % field for field in end_to_end(fields, dropped, options)]
    lines.append(b"Via: 1.%d %b\r\nX-Request-Id: %b\r\n" % (minor, PSEUDONYM, request_id))
    return lines


def interim_to_visitor(fields: Fields, options: frozenset[bytes]) -> list[bytes]:
    """Return the lines of a 1xx answer's end-to-end fields."""
    passed = end_to_end(fields, _NOT_TO_VISITOR_WITHOUT_BODY, options)
    return [b"%b: %b\r\n" % field for field in passed]
