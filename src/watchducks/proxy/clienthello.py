"""What a TLS ClientHello says before anything is encrypted: server name and ALPN. Pure.

RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3, RFC 7301 section 3.1. It may be split over any
number of TLS records, and those over any number of TCP segments. Only what is needed to find the
two extensions is read; whether the rest makes sense is OpenSSL's business, or the origin's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0
_ALPN: Final = 16
# RFC 8446 section 5.1: records of the plaintext hold at most 2**14 bytes.
_MAX_RECORD_BYTES: Final = 1 << 14
# What follows the handshake's type and length, before anything of variable length.
_VERSION_AND_RANDOM_BYTES: Final = 34

_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,252})")


class NotAClientHello(Exception):
    """These bytes do not begin a TLS connection, or not one that we understand."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """:ivar server_name: lower-case, without final dot; "" if there is none that is a host name.
    :ivar alpn: the protocols offered, in order; empty if none are.
    """

    server_name: str
    alpn: tuple[bytes, ...]


class _Bytes:
    """Reads big-endian vectors; running out of bytes is :class:`NotAClientHello`."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise NotAClientHello("a length points beyond its end")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Return a vector whose length is a number of ``size`` bytes."""
        return self.take(self.number(size))


def read_client_hello(data: bytes) -> ClientHello | None:
    """Read what a client sent first; None: it is not complete yet.

    :param data: all bytes received so far; those after the ClientHello are not looked at.
    :raises NotAClientHello:
    """
    message = b""
    at = 0
    while True:
        if at < len(data) and data[at] != _HANDSHAKE:
            raise NotAClientHello("not a handshake record")
        if at + 1 < len(data) and data[at + 1] != 3:
            raise NotAClientHello("not a version of TLS")
        if len(data) < at + 5:
            return None
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if not 0 < length <= _MAX_RECORD_BYTES:
            raise NotAClientHello("a record of a length that is not allowed")
        message += data[at + 5 : at + 5 + length]
        if message and message[0] != _CLIENT_HELLO:
            raise NotAClientHello("not a ClientHello")
        if len(message) >= 4:
            wanted = 4 + int.from_bytes(message[1:4], "big")
            if len(message) >= wanted:
                return _parse(message[4:wanted])
        if len(data) < at + 5 + length:
            return None
        at += 5 + length


def _parse(body: bytes) -> ClientHello:
    hello = _Bytes(body)
    hello.take(_VERSION_AND_RANDOM_BYTES)
    hello.vector(1)  # session id
    hello.vector(2)  # cipher suites
    hello.vector(1)  # compression methods
    server_name = ""
    alpn: tuple[bytes, ...] = ()
    if hello:
        extensions = hello.vector(2)
        at, end = 0, len(extensions)
        # Without _Bytes: there are a dozen or more, which made this a twentieth of a handshake.
        while at + 4 <= end:
            kind = extensions[at] << 8 | extensions[at + 1]
            begin = at + 4
            at = begin + (extensions[at + 2] << 8 | extensions[at + 3])
            if kind == _SERVER_NAME:
                server_name = _server_name(_Bytes(extensions[begin:at]))
            elif kind == _ALPN:
                alpn = _protocols(_Bytes(extensions[begin:at]))
        if at != end:
            raise NotAClientHello("an extension points beyond the last one")
    return ClientHello(server_name, alpn)


def _server_name(content: _Bytes) -> str:
    names = _Bytes(content.vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            text = name.decode("ascii", "replace").lower().removesuffix(".")
            return text if _HOST.fullmatch(text) else ""
    return ""


def _protocols(content: _Bytes) -> tuple[bytes, ...]:
    names = _Bytes(content.vector(2))
    protocols: list[bytes] = []
    while names:
        protocols.append(names.vector(1))
    return tuple(protocols)
