"""A writer of small files in MaxMind's format (version 2.0): a tree of bits, and data behind it."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from typing import Any

_RECORD_BITS = 32
_SEPARATOR = bytes(16)
_MARKER = b"\xab\xcd\xefMaxMind.com"


def _text(value: str) -> bytes:
    return bytes([2 << 5 | len(value)]) + value.encode()


def _value(value: Any) -> bytes:
    match value:
        case str():
            return _text(value)
        case int():
            packed = value.to_bytes(8).lstrip(b"\0")
            if len(packed) > 4:  # an extended type: uint64
                return bytes([len(packed), 9 - 7]) + packed
            return bytes([6 << 5 | len(packed)]) + packed
        case list():
            return bytes([len(value), 11 - 7]) + b"".join(map(_value, value))
        case _:
            return bytes([7 << 5 | len(value)]) + b"".join(
                _text(key) + _value(one) for key, one in value.items()
            )


def mmdb(networks: Mapping[str, Any]) -> bytes:
    """The file that knows these networks, IPv4 ones as the format has them: below ::/96."""
    data = b""
    nodes: list[list[int | None]] = [[None, None]]
    leaves: dict[tuple[int, int], int] = {}
    for text, value in networks.items():
        network = ipaddress.ip_network(text)
        bits = f"{int(network.network_address):0128b}"
        length = network.prefixlen + (96 if network.version == 4 else 0)
        at = 0
        for bit in map(int, bits[: length - 1]):
            following = nodes[at][bit]
            if following is None:
                nodes.append([None, None])
                following = nodes[at][bit] = len(nodes) - 1
            at = following
        leaves[at, int(bits[length - 1])] = len(data)
        data += _value(value)
    count = len(nodes)
    tree = b""
    for number, node in enumerate(nodes):
        for bit in (0, 1):
            following = node[bit]
            if (number, bit) in leaves:
                following = count + len(_SEPARATOR) + leaves[number, bit]
            tree += struct.pack(">I", count if following is None else following)
    metadata = {
        "node_count": count,
        "record_size": _RECORD_BITS,
        "ip_version": 6,
        "database_type": "Test-Country",
        "languages": ["en"],
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_764_000_000,
        "description": {"en": "a test"},
    }
    return tree + _SEPARATOR + data + _MARKER + _value(metadata)
