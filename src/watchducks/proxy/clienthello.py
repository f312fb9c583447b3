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
    # By indices alone: a reader with a method for each vector was a twentieth of a handshake.
    try:
        at = _VERSION_AND_RANDOM_BYTES
        at += 1 + body[at]  # session id
        at += 2 + (body[at] << 8 | body[at + 1])  # cipher suites
        at += 1 + body[at]  # compression methods
        return _read_extensions(body, at)
    except IndexError:
        raise NotAClientHello("it ends too early") from None


def _read_extensions(body: bytes, at: int) -> ClientHello:
    server_name = ""
    alpn: tuple[bytes, ...] = ()
    if at != len(body):
        end = at + 2 + (body[at] << 8 | body[at + 1])
        at += 2
        while at + 4 <= end:
            kind = body[at] << 8 | body[at + 1]
            begin = at + 4
            at = begin + (body[at + 2] << 8 | body[at + 3])
            if kind == _SERVER_NAME:
                server_name = _server_name(body[begin:at])
            elif kind == _ALPN:
                alpn = _protocols(body[begin:at])
        if at != end or end > len(body):
            raise NotAClientHello("an extension points beyond the last one")
    return ClientHello(server_name, alpn)


def _server_name(content: bytes) -> str:
    at, end = 2, _list_end(content)
    while at < end:
        kind = content[at]
        begin = at + 3
        at = begin + (content[at + 1] << 8 | content[at + 2])
        if at > end:
            raise NotAClientHello("a name points beyond the last one")
        if kind == _HOST_NAME:
            text = content[begin:at].decode("ascii", "replace").lower().removesuffix(".")
            return text if _HOST.fullmatch(text) else ""
    return ""


def _protocols(content: bytes) -> tuple[bytes, ...]:
    at, end = 2, _list_end(content)
    protocols: list[bytes] = []
    while at < end:
        begin = at + 1
        at = begin + content[at]
        protocols.append(content[begin:at])
    if at != end:
        raise NotAClientHello("a protocol points beyond the last one")
    return tuple(protocols)


def _list_end(content: bytes) -> int:
    """Return where the list ends that is all that an extension holds."""
    end = 2 + (content[0] << 8 | content[1])
    if end > len(content):
        raise NotAClientHello("a list points beyond its extension")
    return end
