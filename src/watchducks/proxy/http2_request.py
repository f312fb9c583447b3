"""Between HTTP/2 field sections and what an exchange speaks (RFC 9113 section 8). Pure rules.

A request becomes HTTP/1.1 for its origin, so whatever could be read there as more than it is (a
line end, a second length, a field of the connection) is refused here, field by field.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from watchducks.proxy.errors import Reason, Refusal
from watchducks.proxy.framing import CHUNKED, Trailers
from watchducks.proxy.headers import PROTECTED_FIELDS, is_looped
from watchducks.proxy.heads import Fields
from watchducks.proxy.limits import Limits
from watchducks.proxy.request import Request, read_authority
from watchducks.proxy.traits import READ_FOR_TRAITS, traits_of_request

Section = list[tuple[bytes, bytes]]

# Lower-case tokens (RFC 9113 section 8.2.1).
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
# No control bytes but the tab, and no white space at either end.
_VALUE: Final = re.compile(
    rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
# The same as over HTTP/1.1 (:mod:`.heads`), so that no request passes by one that the other stops.
_METHOD: Final = re.compile(rb"[A-Z][A-Z0-9_-]*")
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e\x80-\xff]*")
# 18 digits stay below 2**63, where other parsers' integers begin to wrap.
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")

# The fields that we read ourselves.
_IS_READ: Final = READ_FOR_TRAITS | {
    *(b"cdn-loop", b"content-length", b"cookie", b"host", b"referer", b"te", b"user-agent")
}
_NONE: Final = (b"",)
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
# Fields of one connection: HTTP/2 has none (RFC 9113 section 8.2.2). TE may say "trailers".
_OF_CONNECTION: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"upgrade",
    }
)
# What RFC 9113 section 10.5.1 counts for each field besides its bytes.
_FIELD_OVERHEAD_BYTES: Final = 32
# Fields that were seen lately and are well-formed: 2 MB at most.
_KEPT_FIELDS: Final = 4096
# Longer ones (cookies, tokens) are one visitor's own.
_KEPT_BYTES: Final = 200
# A section that is kept, to compare the next one with: a browser's has about 1 KB, 32 for each
# field included. It is held for as long as the connection idles.
_KEPT_SECTION_BYTES: Final = 2048
WEBSOCKET: Final = b"websocket"


def section_bytes(section: Section) -> int:
    """Return the size of a field section as SETTINGS_MAX_HEADER_LIST_SIZE counts it."""
    return sum([len(name) + len(value) + _FIELD_OVERHEAD_BYTES for name, value in section])


class _Seen(NamedTuple):
    """A field section taken apart. ``fields`` are what an HTTP/1.1 request would have."""

    pseudo: dict[bytes, bytes]
    fields: Fields
    hosts: list[bytes]
    lengths: list[bytes]
    user_agent: bytes
    referrer: bytes
    trailers: bool
    looped: bool
    traits: int


def read_request(section: Section, *, scheme: bytes, ended: bool, limits: Limits) -> Request:
    """Make a request of a field section.

    :param scheme: of the connection; a request that claims another is refused.
    :param ended: nothing follows the section.
    :raises Refusal: it is malformed, too large, or not one that we carry.
    """
    if section_bytes(section) > limits.head_bytes or len(section) > limits.head_fields:
        raise Refusal(Reason.HEAD_TOO_LARGE)
    seen = _take_apart(section)
    pseudo = seen.pseudo
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    protocol = pseudo.get(b":protocol")
    if method == b"CONNECT" and protocol != WEBSOCKET:
        raise Refusal(Reason.METHOD_REFUSED)
    if protocol is not None and (method != b"CONNECT" or ended):
        raise Refusal(Reason.BAD_REQUEST)
    if pseudo.get(b":scheme") != scheme or not _METHOD.fullmatch(method):
        raise Refusal(Reason.BAD_REQUEST)
    if len(path) > limits.target_bytes:
        raise Refusal(Reason.TARGET_TOO_LONG)
    if not _PATH.fullmatch(path) and not (path == b"*" and method == b"OPTIONS"):
        raise Refusal(Reason.BAD_REQUEST)
    authority = _authority(pseudo.get(b":authority"), seen.hosts)
    length = _body_length(seen.lengths, ended=ended)
    if protocol is not None and seen.lengths:
        raise Refusal(Reason.BAD_REQUEST)  # a tunnel has no length
    return Request(
        method=b"GET" if protocol is not None else method,
        target=path,
        host=read_authority(authority),
        authority=authority,
        minor=1,
        fields=seen.fields,
        length=length if protocol is None else 0,
        keep_alive=True,
        options=frozenset(),
        user_agent=seen.user_agent,
        referrer=seen.referrer,
        upgrade=protocol or b"",
        trailers=seen.trailers,
        looped=seen.looped,
        traits=seen.traits,
    )


class RequestReader:
    """Reads one connection's requests.

    Most differ from the one before in their path alone, and their fields are the same objects of
    the connection's table: such a section has been judged already, but for its path.
    """

    __slots__ = ("_last", "_limits", "_max_path_bytes", "_path_at", "_request", "_scheme")

    def __init__(self, *, scheme: bytes, limits: Limits) -> None:
        self._scheme = scheme
        self._limits = limits
        self._last: Section = []
        self._path_at = self._max_path_bytes = 0
        self._request: Request | None = None

    def read(self, section: Section, *, ended: bool) -> Request:
        """Make a request of a field section (:func:`read_request`)."""
        repeated = self._repeated(section) if ended else None
        if repeated is not None:
            return repeated
        request = read_request(section, scheme=self._scheme, ended=ended, limits=self._limits)
        if ended:
            self._keep(section, request)
        return request

    def _repeated(self, section: Section) -> Request | None:
        request, last, at = self._request, self._last, self._path_at
        if request is None or len(section) != len(last) or section[at][0] != b":path":
            return None
        last[at] = section[at]
        path = section[at][1]
        if last != section or len(path) > self._max_path_bytes or not _PATH.fullmatch(path):
            return None
        return request.with_target(path)

    def _keep(self, section: Section, request: Request) -> None:
        others_bytes = section_bytes(section) - len(request.target)
        if others_bytes > _KEPT_SECTION_BYTES or request.upgrade:
            return
        self._last = list(section)
        self._path_at = [name for name, _ in section].index(b":path")
        self._max_path_bytes = min(
            self._limits.target_bytes, self._limits.head_bytes - others_bytes
        )
        self._request = request


def _take_apart(section: Section) -> _Seen:
    pseudo: dict[bytes, bytes] = {}
    fields: Fields = []
    found: dict[bytes, list[bytes]] = {}
    for name, value in section:
        if name[:1] == b":":
            if name not in _PSEUDO or name in pseudo or fields:
                raise Refusal(Reason.BAD_REQUEST)
            pseudo[name] = value
            continue
        if len(name) + len(value) < _KEPT_BYTES:
            _check_kept(name, value)
        else:
            _check_field(name, value)
        fields.append((name, value))
        if name in _IS_READ:
            found.setdefault(name, []).append(value)
    cookies = found.get(b"cookie", _NONE)
    if len(cookies) > 1:
        # Sent in crumbs, for the compression's sake; HTTP/1.1 has one field (section 8.2.3).
        fields = [field for field in fields if field[0] != b"cookie"]
        fields.append((b"cookie", b"; ".join(cookies)))
    return _Seen(
        pseudo,
        fields,
        found.get(b"host", []),
        found.get(b"content-length", []),
        found.get(b"user-agent", _NONE)[-1],
        found.get(b"referer", _NONE)[-1],
        b"te" in found,  # which says "trailers", or it would have been refused
        b"cdn-loop" in found and any(map(is_looped, found[b"cdn-loop"])),
        traits_of_request(found),
    )


def _check_field(name: bytes, value: bytes) -> None:
    if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None or name in _OF_CONNECTION:
        raise Refusal(Reason.BAD_REQUEST)
    if name == b"te" and value.lower() != b"trailers":
        raise Refusal(Reason.BAD_REQUEST)
    if b"_" in name and name.replace(b"_", b"-") in PROTECTED_FIELDS:
        # CGI and WSGI make one variable of x_forwarded_for and x-forwarded-for.
        raise Refusal(Reason.BAD_REQUEST)


# Most fields are those of the requests before, as the same objects of the connection's table.
_check_kept = lru_cache(maxsize=_KEPT_FIELDS)(_check_field)


def _authority(authority: bytes | None, hosts: list[bytes]) -> bytes:
    """Return whom the request is for; Host may repeat it, or say it alone (section 8.3.1)."""
    if len(hosts) > 1 or (hosts and authority is not None and hosts[0] != authority):
        raise Refusal(Reason.BAD_REQUEST)
    chosen = hosts[0] if authority is None and hosts else authority
    if not chosen:
        raise Refusal(Reason.BAD_REQUEST)
    return chosen


def _body_length(lengths: list[bytes], *, ended: bool) -> int:
    if not lengths:
        return 0 if ended else CHUNKED
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise Refusal(Reason.BAD_REQUEST)
    length = int(lengths[0])
    if ended and length:
        raise Refusal(Reason.BAD_REQUEST)
    return length


def read_trailers(section: Section, limits: Limits) -> Trailers:
    """Check the field section after a body.

    :raises Refusal: it is malformed or too large.
    """
    if section_bytes(section) > limits.head_bytes or len(section) > limits.head_fields:
        raise Refusal(Reason.HEAD_TOO_LARGE)
    for name, value in section:
        _check_field(name, value)
    return section


def salvage(section: Section) -> tuple[bytes, bytes, Fields]:
    """Return what looks like method, target and fields of a refused section: good enough to answer
    and to count it, never to pass it on."""
    pseudo = {name: value for name, value in section if name[:1] == b":"}
    fields = [field for field in section if field[0][:1] != b":"]
    if b":authority" in pseudo:
        fields.insert(0, (b"host", pseudo[b":authority"]))
    return pseudo.get(b":method", b""), pseudo.get(b":path", b""), fields


def trailer_section(trailers: Trailers) -> Section:
    """Return the field section after an answer's body."""
    return [(name.lower(), value.strip(b" \t")) for name, value in trailers]
