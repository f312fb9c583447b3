"""The PROXY protocol's header: both versions, split anywhere, and what only looks like one."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.proxy_protocol import BadProxyHeader, ProxyHeader, read_proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\r\n"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + bytes([command, family]) + len(payload).to_bytes(2, "big") + payload


def addresses(client: str, server: str) -> bytes:
    packed = [ipaddress.ip_address(text).packed for text in (client, server)]
    return b"".join(packed) + b"\x12\x67\x01\xbb"


V2 = v2(0x21, 0x11, addresses("203.0.113.9", "10.0.0.1"))
V2_IPV6 = v2(0x21, 0x21, addresses("2001:db9::7", "2001:db8::1"))


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, "203.0.113.9"),
        (b"PROXY TCP6 2001:DB9::7 2001:db8::1 1 65535\r\n", "2001:db9::7"),
        (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n", "203.0.113.9"),
        (b"PROXY UNKNOWN\r\n", ""),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""),
        (V2, "203.0.113.9"),
        (V2_IPV6, "2001:db9::7"),
        (v2(0x21, 0x11, addresses("203.0.113.9", "10.0.0.1") + b"\x04\0\x02ab"), "203.0.113.9"),
        (v2(0x20, 0x11, addresses("203.0.113.9", "10.0.0.1")), ""),
        (v2(0x20, 0x00, b""), ""),
        (v2(0x21, 0x00, b""), ""),
        (v2(0x21, 0x31, bytes(216)), ""),
    ],
)
def test_a_header_is_read_once_it_is_complete(header: bytes, client: str) -> None:
    for end in range(len(header)):
        assert read_proxy_header(header[:end]) is None, end
    for rest in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", header):
        assert read_proxy_header(header + rest) == ProxyHeader(len(header), client)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"P/",
        b"PRI * HTTP/2.0\r\n",
        b"\r\nG",
        b"\r\n\r\n\x01",
    ],
)
def test_what_begins_otherwise_has_none(data: bytes) -> None:
    assert read_proxy_header(data) == ProxyHeader(0, "")


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY / HTTP/1.1\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 65536\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443 \r\n",
        b"PROXY TCP4  203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 203.0.113.999 10.0.0.1 4711 443\r\n",
        b"PROXY TCP4 2001:db9::7 ::1 4711 443\r\n",
        b"PROXY TCP6 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY TCP5 203.0.113.9 10.0.0.1 4711 443\r\n",
        b"PROXY UNKNOWN\xff\r\n",
        b"PROXY TCP4 203.0.113.9 10.0.0.1 4711 443\n" + b"x" * 107,
        b"PROXY " + b"x" * 200,
        v2(0x22, 0x11, addresses("203.0.113.9", "10.0.0.1")),
        v2(0x11, 0x11, addresses("203.0.113.9", "10.0.0.1")),
        v2(0x21, 0x12, addresses("203.0.113.9", "10.0.0.1")),
        v2(0x21, 0x11, b"\x01" * 11),
        v2(0x21, 0x21, addresses("203.0.113.9", "10.0.0.1")),
        v2(0x21, 0x11, bytes(5000)),
    ],
)
def test_what_begins_like_one_and_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(BadProxyHeader):
        read_proxy_header(data)


@given(
    st.sampled_from([b"", b"PROXY TCP4 ", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary()
)
def test_any_bytes_are_read_or_refused_and_an_address_is_one(begin: bytes, rest: bytes) -> None:
    with suppress(BadProxyHeader):
        header = read_proxy_header(begin + rest)
        if header is not None and header.client:
            ipaddress.ip_address(header.client)
