"""The header of HAProxy's PROXY protocol, versions 1 and 2. Pure.

A balancer that passes bytes on says with it, before anything else, who the client is
(https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt). Only asked for what a trusted peer
sent; a header may arrive split anywhere.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from watchducks.proxy.peers import parse_address

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# Section 2.1: the longest line of version 1, with its CRLF.
_MAX_V1_BYTES: Final = 107
# Addresses take 216 bytes at most; the rest are details such as a client certificate's names, which
# are skipped. HAProxy itself sends less than 1 KiB.
_MAX_V2_BYTES: Final = 4096
_V2_FIXED_BYTES: Final = 16
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
# Address family and transport -> how many bytes an address has.
_TCP_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}
# Connections of which no address can be told: unspecified, or between UNIX sockets.
_WITHOUT_ADDRESS: Final = (0x00, 0x31)

_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) [0-9A-Fa-f:.]+ ([0-9]{1,5}) ([0-9]{1,5})")
_UNKNOWN_LINE = re.compile(rb"PROXY UNKNOWN(?: [!-~ ]*)?")


class BadProxyHeader(Exception):
    """It begins like a header, and is none."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """:ivar size: how many of the bytes it is; 0: there is none.
    :ivar client: the client's IP address; "": the connection is the peer's own.
    """

    size: int
    client: str


_NONE: Final = ProxyHeader(0, "")


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Read the header at the beginning of a connection; None: more is needed to tell.

    :param data: all bytes received so far.
    :raises BadProxyHeader:
    """
    if data.startswith(_V2):
        return _read_v2(data)
    if data.startswith(_V1):
        return _read_v1(data)
    if _V2.startswith(data) or _V1.startswith(data):
        return None
    return _NONE


def _read_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:_MAX_V1_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= _MAX_V1_BYTES:
            raise BadProxyHeader("the line has no end")
        return None
    size = len(line) + len(end)
    if _UNKNOWN_LINE.fullmatch(line):
        return ProxyHeader(size, "")
    match = _LINE.fullmatch(line)
    if match is None or max(int(match[3]), int(match[4])) > 65535:
        raise BadProxyHeader("not a line of version 1")
    text = match[2].decode("ascii")
    address = parse_address(text)
    if address is None or (match[1] == b"TCP4") != (":" not in text):
        raise BadProxyHeader("not an address of its family")
    return ProxyHeader(size, str(address))


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    size = _V2_FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise BadProxyHeader("not version 2, or not a command of it")
    if size > _MAX_V2_BYTES:
        raise BadProxyHeader("it is too long")
    if len(data) < size:
        return None
    if command == _LOCAL or family in _WITHOUT_ADDRESS:
        return ProxyHeader(size, "")
    count = _TCP_ADDRESS_BYTES.get(family)
    if count is None:
        raise BadProxyHeader("not a stream connection")
    if size < _V2_FIXED_BYTES + 2 * count + 4:  # two addresses and two ports
        raise BadProxyHeader("it is too short for its addresses")
    packed = data[_V2_FIXED_BYTES : _V2_FIXED_BYTES + count]
    address = parse_address(str(ipaddress.ip_address(packed)))
    return ProxyHeader(size, str(address))
