"""What a request asks for: method, host, path and the length of its body. Pure rules.

Whatever two HTTP implementations could understand differently is refused: the origin must see the
request that we saw, and one of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.framing import CHUNKED
from watchducks.proxy.headers import (
    PROTECTED_FIELDS,
    Names,
    VisitorFields,
    connection_options,
    is_looped,
    to_origin,
)
from watchducks.proxy.heads import Fields, RequestHeadReader
from watchducks.proxy.limits import Limits
from watchducks.proxy.traits import READ_FOR_TRAITS, traits_of_request

# The authority of a Host field or an absolute target; underscores are no host name (RFC 1123), but
# they exist. User information is refused: it only ever misleads.
_AUTHORITY = re.compile(
    rb"(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,253})|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{0,5}))?"
)
_ABSOLUTE = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
# The hosts seen most lately, so that a busy one is not parsed again for each request: 1 MB at most.
_KEPT_HOSTS: Final = 4096
# 18 digits stay below 2**63, where other parsers' integers begin to wrap.
_MAX_LENGTH_DIGITS: Final = 18
_WEBSOCKET: Final = b"websocket"
# Longer heads are not kept for the next request of their connection: browsers send less, and what
# is kept is held for as long as the connection idles.
_KEPT_HEAD_BYTES: Final = 2048
# A target in origin form, whole.
_ORIGIN_FORM: Final = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*+")
# The fields that we read ourselves.
_IS_READ: Final = Names(
    frozenset(
        b"cdn-loop connection content-length host referer sec-websocket-key te transfer-encoding"
        b" upgrade user-agent".split()
    )
    | READ_FOR_TRAITS
)
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_NONE: Final = (b"",)


@dataclass(slots=True)
class Request:
    """A request as the proxy understood it.

    :ivar target: the target to send to the origin, octet for octet as it was sent (an absolute one
        without its scheme and authority).
    :ivar host: lower-case, without port and final dot: the key of the routes.
    :ivar authority: the Host field as it was sent, port included.
    :ivar minor: HTTP/1.minor.
    :ivar fields: all fields as they were sent.
    :ivar length: of the body in bytes, or :data:`~watchducks.proxy.framing.CHUNKED`.
    :ivar keep_alive: whether the visitor may send another request on this connection.
    :ivar options: what its Connection fields name, lower-case.
    :ivar upgrade: the protocol that it asks to change to: ``websocket``, or b"" for none.
    :ivar trailers: whether the visitor takes trailers after the answer (TE).
    :ivar looped: whether it has been forwarded by a WatchDucks before.
    :ivar traits: what its fields say for its row (:mod:`.traits`).
    """

    method: bytes
    target: bytes
    host: str
    authority: bytes
    minor: int
    fields: Fields
    length: int
    keep_alive: bool
    options: frozenset[bytes]
    user_agent: bytes
    referrer: bytes
    upgrade: bytes = b""
    trailers: bool = False
    looped: bool = False
    traits: int = 0
    _lines: bytes = field(default=b"", init=False, repr=False, compare=False)
    _lines_of: VisitorFields | None = field(default=None, init=False, repr=False, compare=False)

    def lines(self, visitor: VisitorFields, protocol: str) -> bytes:
        """Return the lines of the head that goes to the origin (:func:`.headers.to_origin`).

        :param protocol: by which this visitor sent it, always the same.
        """
        if visitor is not self._lines_of:
            self._lines_of = visitor
            self._lines = to_origin(
                self.method,
                self.authority,
                self.fields,
                protocol=protocol,
                options=self.options,
                length=self.length,
                visitor=visitor,
                trailers=self.trailers,
                upgrade=self.upgrade,
            )
        return self._lines

    def with_target(self, target: bytes) -> Request:
        """Return the same request for another target, with what was made for this one."""
        other = Request(
            self.method,
            target,
            self.host,
            self.authority,
            self.minor,
            self.fields,
            self.length,
            self.keep_alive,
            self.options,
            self.user_agent,
            self.referrer,
            self.upgrade,
            self.trailers,
            self.looped,
            self.traits,
        )
        other._lines, other._lines_of = self._lines, self._lines_of
        return other

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def replayable(self) -> bool:
        """Whether sending it twice does no harm (RFC 9110 section 9.2.2) and is possible."""
        return self.length == 0 and self.method in _IDEMPOTENT


_IDEMPOTENT: Final = frozenset(
    {b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"}
)


@lru_cache(maxsize=_KEPT_HOSTS)
def read_authority(authority: bytes) -> str:
    """Return the host of ``authority``: lower-case, without port and final dot.

    :raises Refusal: it is not ``host`` or ``host:port``.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None or b".." in authority or int(match["port"] or 0) > 65535:
        raise Refusal(Reason.BAD_REQUEST)
    return match["host"].decode("ascii").lower().removesuffix(".")


def read_request(head: RequestHeadReader) -> Request:
    """Make a request of a complete head.

    :raises Refusal: it is not one that we carry.
    """
    if head.method == b"CONNECT":
        raise Refusal(Reason.METHOD_REFUSED)
    found: dict[bytes, list[bytes]] = {}
    for name, value in head.fields:
        if _IS_READ[name]:
            found.setdefault(name.lower(), []).append(value)
        elif b"_" in name and name.lower().replace(b"_", b"-") in PROTECTED_FIELDS:
            # CGI and WSGI make one variable of X_Forwarded_For and X-Forwarded-For.
            raise Refusal(Reason.BAD_REQUEST)
    hosts = found.get(b"host", ())
    if len(hosts) != 1:
        raise Refusal(Reason.BAD_REQUEST)
    authority = hosts[0].strip(b" \t")
    host = read_authority(authority)
    options = connection_options(found[b"connection"]) if b"connection" in found else _NO_OPTIONS
    if head.minor:
        keep_alive = b"close" not in options
    else:
        keep_alive = b"keep-alive" in options and b"close" not in options
    length = _body_length(
        found.get(b"content-length", ()), found.get(b"transfer-encoding", ()), head.minor
    )
    upgrades = b"upgrade" in options and head.minor == 1 and length == 0 and _upgrades(found)
    return Request(
        head.method,
        _origin_form(head.method, head.target, host),
        host,
        authority,
        head.minor,
        head.fields,
        length,
        keep_alive,
        options,
        found.get(b"user-agent", _NONE)[-1],
        found.get(b"referer", _NONE)[-1],
        _WEBSOCKET if upgrades and head.method == b"GET" else b"",
        b"te" in options and head.minor == 1 and any(map(takes_trailers, found.get(b"te", ()))),
        b"cdn-loop" in found and any(map(is_looped, found[b"cdn-loop"])),
        traits_of_request(found),
    )


def _upgrades(found: Mapping[bytes, Sequence[bytes]]) -> bool:
    """Return whether a request asks for WebSocket, as RFC 6455 section 4.1 says.

    Whatever else it wants to change to is not for us to carry: it is answered as if it did not.
    """
    upgrades = found.get(b"upgrade", ())
    return (
        len(upgrades) == 1
        and upgrades[0].strip(b" \t").lower() == _WEBSOCKET
        and b"sec-websocket-key" in found
    )


def takes_trailers(te: bytes) -> bool:
    """Return whether a TE field says that trailers are understood (RFC 9110 section 10.1.4)."""
    return any(item.strip(b" \t").lower() == b"trailers" for item in te.split(b","))


def _origin_form(method: bytes, target: bytes, host: str) -> bytes:
    """Return ``target`` as an origin takes it (RFC 9112 section 3.2.1)."""
    if b"#" in target:
        raise Refusal(Reason.BAD_REQUEST)
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    match = _ABSOLUTE.fullmatch(target)
    # Stricter than the RFC, by which the target's authority wins: some origins take the other.
    if match is None or read_authority(match[1]) != host:
        raise Refusal(Reason.BAD_REQUEST)
    rest = match[2]
    if not rest and method == b"OPTIONS":
        return b"*"
    return rest if rest.startswith(b"/") else b"/" + rest


def _body_length(lengths: Sequence[bytes], codings: Sequence[bytes], minor: int) -> int:
    """Return how long the body is (RFC 9112 section 6.3), without guessing."""
    if codings:
        chunked = len(codings) == 1 and codings[0].strip(b" \t").lower() == b"chunked"
        if lengths or not chunked or minor == 0:
            raise Refusal(Reason.BAD_REQUEST)
        return CHUNKED
    if not lengths:
        return 0
    length = lengths[0].strip(b" \t")
    if len(lengths) > 1 or not length.isdigit() or len(length) > _MAX_LENGTH_DIGITS:
        raise Refusal(Reason.BAD_REQUEST)
    return int(length)


class RepeatedHead:
    """The last request of a connection, for further ones that differ in their target alone.

    Browsers send the same fields with many requests, octet for octet. Such a head has been parsed
    and judged already: what is left to do is to compare the bytes, and to read the target.
    """

    __slots__ = ("_after", "_before", "_max_bytes", "_request")

    def __init__(self, before: bytes, after: bytes, request: Request, max_bytes: int) -> None:
        """:param before, after: of the target, to the end of the head.
        :param max_bytes: how long a target may be.
        """
        self._before = before
        self._after = after
        self._request = request
        self._max_bytes = max_bytes

    @classmethod
    def of(cls, head: bytes, request: Request, limits: Limits) -> RepeatedHead | None:
        """Return ``request``, which was read from ``head``, to be repeated; None if it is not one
        that usually is: it has a body, say, or another form of target."""
        target = request.target
        before, _, after = head.partition(b" %b " % target)
        others_bytes = len(head) - len(target)
        if (
            others_bytes > _KEPT_HEAD_BYTES
            or request.length
            or request.upgrade
            or before != request.method
            or _ORIGIN_FORM.fullmatch(target) is None
        ):
            return None
        max_bytes = min(limits.target_bytes, limits.head_bytes - others_bytes)
        return cls(before + b" ", b" " + after, request, max_bytes)

    def read(self, data: bytes) -> Request | None:
        """Return the request that ``data`` is, all of it; None: it has to be read anew.

        The last one must be over: it is the same object, with another target.
        """
        before, after = self._before, self._after
        if not (data.endswith(after) and data.startswith(before)):
            return None
        target = data[len(before) : -len(after)]
        if len(target) > self._max_bytes or _ORIGIN_FORM.fullmatch(target) is None:
            return None
        self._request.target = target
        return self._request
