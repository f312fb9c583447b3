"""EDNS options: what is said to each."""

from __future__ import annotations

import struct

from watchducks.nameserver.cookies import Cookies
from watchducks.nameserver.options import COOKIE, NOTHING, NSID, TCP_KEEPALIVE, Options
from watchducks.nameserver.wire import read_options


def option(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!HH", code, len(data)) + data


def options(nsid: str = "") -> Options:
    return Options(Cookies(b"s" * 32, now=lambda: 1e9), nsid=nsid, idle_seconds=10.0)


def test_nsid_is_told_only_if_it_is_set() -> None:
    assert options().respond(option(NSID), "192.0.2.1", datagram=True) == NOTHING
    told = options("ams-1").respond(option(NSID), "192.0.2.1", datagram=True)
    assert told.options == option(NSID, b"ams-1")
    assert not told.known
    both = options("ams-1").respond(option(NSID) + option(COOKIE, bytes(8)), "", datagram=True)
    assert set(read_options(both.options)) == {NSID, COOKIE}


def test_the_idle_limit_is_told_over_tcp_alone() -> None:
    asked = option(TCP_KEEPALIVE)
    assert options().respond(asked, "192.0.2.1", datagram=True) == NOTHING
    told = options().respond(asked, "192.0.2.1", datagram=False)
    assert told.options == option(TCP_KEEPALIVE, struct.pack("!H", 100))


def test_others_are_ignored() -> None:
    assert options().respond(option(8, b"\0\1\x18\0"), "192.0.2.1", datagram=True) == NOTHING
