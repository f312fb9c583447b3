"""Lines of other servers' access logs as rows: nginx and Apache (combined), Caddy (JSON). Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

from watchducks.model.content_types import CONTENT_TRAITS
from watchducks.model.rows import ANSWERED, Row

T = TypeVar("T")
# Makes a row of a line; None: it is none of this format.
Parse = Callable[[bytes], Row | None]


def _quoted(name: bytes) -> bytes:
    """Return what matches a text quoted by Apache or nginx: a backslash stands before a quote."""
    return rb'"(?P<' + name + rb'>[^"\\]*(?:\\.[^"\\]*)*)"'


_COMBINED: Final = re.compile(
    rb"(?:\S+:\d+ )?(?P<client>[0-9A-Fa-f:.]{2,45}) \S+ [^\[]{0,100}\[(?P<time>[^\]]{26})\] "
    + _quoted(b"request")
    + rb" (?P<status>\d{3}) (?P<size>\d{1,18}|-)"
    + rb"(?: "
    + _quoted(b"referrer")
    + rb" "
    + _quoted(b"agent")
    + rb")?"
)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
# A second has many lines, and lines come in their order.
_TIMES: Final = 1024
# Requests, referrers and User-Agents that are remembered, some megabytes; longer ones are not.
_TEXTS: Final = 8192
_TEXT_BYTES: Final = 512

_US: Final = 1_000_000
_LATEST_US: Final = 4_000_000_000 * _US  # times end in 2106
_METHOD: Final = re.compile(r"[A-Za-z-]{1,32}")


def combined(site_id: int, host: str) -> Parse:
    """Return what reads "combined" and "common": without times of answers, and without hosts."""

    def parse(line: bytes) -> Row | None:
        match = _COMBINED.match(line)
        if match is None:
            return None
        client, time, request, status, size, referrer, agent = match.group(
            "client", "time", "request", "status", "size", "referrer", "agent"
        )
        time_us, asked = _clf_time(time), _asked(request)
        if time_us is None or asked is None:
            return None
        method, path, query, protocol = asked
        return Row(
            time_us,
            site_id,
            "request",
            "",
            protocol,
            method,
            host,
            path,
            int(status),
            ANSWERED,
            _text(client),
            _optional(agent),
            _optional(referrer),
            0,
            0 if size == b"-" else int(size),
            0,
            0,
            query,
            0,  # what it was is told by the end of the path, as with any other row
        )

    return parse


def caddy(site_id: int, host: str) -> Parse:
    """Return what reads Caddy's JSON. :param host: for lines that say none."""

    def parse(line: bytes) -> Row | None:
        try:
            entry = json.loads(line)
            request = entry["request"]
            time_us = int(float(entry["ts"]) * _US)
            headers = request.get("headers") or {}
            if not 0 <= time_us <= _LATEST_US or not _METHOD.fullmatch(request["method"]):
                return None
            path, _, query = str(request["uri"]).partition("?")
            content_type = _first(entry.get("resp_headers") or {}, "Content-Type")
            return Row(
                time_us,
                site_id,
                "request",
                "https" if request.get("tls") else "http",
                str(request.get("proto", "")),
                request["method"],
                _without_port(str(request.get("host") or host)),
                path,
                int(entry["status"]),
                ANSWERED,
                str(request.get("client_ip") or request["remote_ip"]),
                _first(headers, "User-Agent"),
                _first(headers, "Referer"),
                int(entry.get("bytes_read", 0)),
                int(entry.get("size", 0)),
                int(float(entry.get("duration", 0)) * _US),
                0,  # nobody wrote down how long the origin took
                query,
                CONTENT_TRAITS[content_type.encode("utf-8", "replace")],
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    return parse


FORMATS: Final[dict[str, Callable[[int, str], Parse]]] = {"combined": combined, "caddy": caddy}


@lru_cache(_TIMES)
def _clf_time(text: bytes) -> int | None:
    """Return 23/Nov/2026:05:00:00 +0900 as POSIX microseconds."""
    try:
        day, month, year = int(text[0:2]), _MONTHS[text[3:6].decode("ascii")], int(text[7:11])
        hour, minute, second = int(text[12:14]), int(text[15:17]), int(text[18:20])
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
        offset = int(text[22:24]) * 3600 + int(text[24:26]) * 60
        time_us = (int(moment.timestamp()) - (-offset if text[21:22] == b"-" else offset)) * _US
    except (ValueError, KeyError):
        return None
    return time_us if 0 <= time_us <= _LATEST_US else None


class _Asked(NamedTuple):
    method: str
    path: str
    query: str
    protocol: str


def _remembering(read: Callable[[bytes], T]) -> Callable[[bytes], T]:
    """Return a function that remembers what comes again: most of a log does."""
    known = lru_cache(_TEXTS)(read)
    return lambda quoted: known(quoted) if len(quoted) <= _TEXT_BYTES else read(quoted)


@_remembering
def _asked(quoted: bytes) -> _Asked | None:
    """Return what the first line of a request says; None: it is none."""
    method, _, rest = _text(quoted).partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not target:
        target, protocol = protocol, ""
    if not target or not _METHOD.fullmatch(method):
        return None
    path, _, query = target.partition("?")
    return _Asked(method, path, query, protocol)


def _optional(quoted: bytes | None) -> str:
    return "" if quoted is None or quoted == b"-" else _text(quoted)


@_remembering
def _text(quoted: bytes) -> str:
    if b"\\" in quoted:
        quoted = _ESCAPE.sub(_unescaped, quoted)
    return quoted.decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else match[2]


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not name.endswith(":") else host


def _first(headers: Any, name: str) -> str:
    """Return the first value of a field of Caddy's, which lists them."""
    values = headers.get(name)
    return str(values[0]) if isinstance(values, list) and values else ""
