"""How the appliance and the chDB child speak: frames over pipes, and columns as a Native block.

A frame is ``length u32, id u32, kind u8, payload``; the length counts the payload alone. The child
answers in the order in which it was asked, with the id of the question; id 0 is its greeting.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import cast

from watchducks.stores.blocks import string, varint
from watchducks.stores.interfaces import Value

_HEAD = struct.Struct("<IIB")
_INSERT = struct.Struct("<I")

# Towards the child.
STATEMENT = 1  # payload: the SQL text
INSERT = 2  # payload: length u32 of the SQL text, the text, the block

# From the child.
RESULT = 1  # payload: one JSON array a row, one row a line
FAILED = 2  # payload: the error's text
NO_PACKAGE = 3  # greeting only: chdb is not installed

GREETING_ID = 0

# Far above an insert of a full segment (8 MiB of rows) and above any page's result; a longer frame
# can only be a fault, and must not take the memory.
MAX_PAYLOAD_BYTES = 128 * 1024 * 1024


class FrameError(Exception):
    """The bytes are no frames of ours."""


def frame(id_: int, kind: int, *payload: bytes) -> bytes:
    """Return one frame."""
    return b"".join((_HEAD.pack(sum(map(len, payload)), id_, kind), *payload))


class Frames:
    """Takes bytes as they come and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add ``data``; yield (id, kind, payload) of each frame that is complete now.

        :raises FrameError: a frame is longer than it may be; the stream is of no use any more.
        """
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            length, id_, kind = _HEAD.unpack_from(self._buffer)
            if length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"a frame of {length} bytes")
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_HEAD.size : end])
            del self._buffer[:end]
            yield id_, kind, payload


def insert_payload(statement: str, block: bytes) -> tuple[bytes, ...]:
    """Return the payload of an INSERT frame."""
    text = statement.encode()
    return _INSERT.pack(len(text)), text, block


def split_insert(payload: bytes) -> tuple[str, bytes]:
    """Return the statement and the block of an INSERT frame."""
    (length,) = _INSERT.unpack_from(payload)
    begin = _INSERT.size + length
    return payload[_INSERT.size : begin].decode(), payload[begin:]


def native_block(columns: Sequence[str], data: Sequence[Sequence[Value]]) -> bytes:
    """Return columnar ``data`` in ClickHouse's format Native; the table's types are cast to.

    For few rows; of many, :func:`watchducks.stores.blocks.native` makes the same at a tenth of the
    cost.

    :raises ValueError: columns of different lengths.
    :raises OverflowError, TypeError: a value that fits no 64-bit column.
    """
    counts = {len(values) for values in data}
    if len(counts) != 1 or len(columns) != len(data):
        raise ValueError("columns of different lengths")
    out: list[bytes] = [varint(len(columns)), varint(counts.pop())]
    for name, values in zip(columns, data, strict=True):
        kind, content = _column(values)
        out += (string(name.encode()), string(kind.encode()))
        out.extend(content)
    return b"".join(out)


def _column(values: Sequence[Value]) -> tuple[str, Sequence[bytes]]:
    """Return the type and the bytes of one column. A column has values of one Python type."""
    if not values or isinstance(values[0], str):
        return "String", [string(str(text).encode("utf-8", "replace")) for text in values]
    if isinstance(values[0], float):
        return "Float64", [array("d", cast(Sequence[float], values)).tobytes()]
    numbers = cast(Sequence[int], values)
    try:
        return "UInt64", [array("Q", numbers).tobytes()]
    except OverflowError:
        return "Int64", [array("q", numbers).tobytes()]
