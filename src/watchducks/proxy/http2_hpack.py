"""Field sections as bytes (RFC 7541), cheaper than by the hpack library, which lends its tables.

What we send never changes a table. A table of what was sent would make answers some hundred bytes
smaller, and cost more than all the rest of sending them: each field is looked for, and each of our
answers has some that no other has (its date, its id, its length). nginx does the same. It also
takes the size of that table out of the visitor's hands, who could let it grow without bound.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Final

from hpack.exceptions import HPACKDecodingError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from watchducks.proxy.headers import HOP_BY_HOP

Section = list[tuple[bytes, bytes]]

# "The table has no room": said at the begin of the first field section, so that no later SETTINGS
# of the visitor asks for an update (RFC 7541 section 4.2).
NO_TABLE: Final = b"\x20"
# Heads that come again and again, and the lines that they share with others: 3 MB at most in all.
# Longer lines (cookies, policies) are their answer's own, and so is this one.
_KEPT_HEADS, _KEPT_HEAD_BYTES = 512, 2048
_KEPT_LINES, _KEPT_LINE_BYTES = 4096, 200
_OWN: Final = b"X-Request-Id"
# Fields of one connection, but for what announces trailers, which pass.
NOT_IN_ANSWERS: Final = HOP_BY_HOP - {b"trailer"}

_STATIC: Final = HeaderTable.STATIC_TABLE
_STATIC_END: Final = 0x81 + len(_STATIC)
_INDEX_OF_FIELD: Final[dict[tuple[bytes, bytes], int]] = {}
_INDEX_OF_NAME: Final[dict[bytes, int]] = {}
for _index, _field in enumerate(_STATIC, 1):
    _INDEX_OF_FIELD.setdefault(_field, _index)
    _INDEX_OF_NAME.setdefault(_field[0], _index)

# What RFC 7541 section 4.1 counts for each field besides its bytes.
_FIELD_OVERHEAD_BYTES: Final = 32
# SETTINGS_HEADER_TABLE_SIZE, which we leave as it is.
TABLE_BYTES: Final = 4096
# Bytes of an integer after its first: 2**28 is longer than any field section.
_MAX_INTEGER_BYTES: Final = 4


def _literal(text: bytes) -> bytes:
    size = len(text)
    return (bytes((size,)) if size < 127 else bytes(encode_integer(size, 7))) + text


def encode_field(name: bytes, value: bytes) -> bytes:
    """Return the shortest representation that needs no table but the static one."""
    index = _INDEX_OF_FIELD.get((name, value))
    if index is not None:
        return bytes((0x80 | index,))  # all of them fit into 7 bits
    index = _INDEX_OF_NAME.get(name, 0)
    begin = bytes(encode_integer(index, 4))
    return begin + (b"" if index else _literal(name)) + _literal(value)


def encode_section(section: Section) -> bytes:
    """Return a field section as bytes."""
    return b"".join([encode_field(name, value) for name, value in section])


def encode_answer(status: int, lines: list[bytes]) -> bytes:
    """Return the field section of an answer as bytes.

    :param lines: its fields as HTTP/1.1 writes them; an element may hold several lines.
    """
    parts = [_encode_status(status)]
    for some in lines:
        kept = len(some) < _KEPT_HEAD_BYTES and not some.startswith(_OWN)
        parts.append(_encode_kept_lines(some) if kept else _encode_lines(some))
    return b"".join(parts)


def _encode_lines(lines: bytes) -> bytes:
    parts = []
    for line in lines.split(b"\r\n"):
        kept = len(line) < _KEPT_LINE_BYTES and not line.startswith(_OWN)
        parts.append(_encode_kept_line(line) if kept else _encode_line(line))
    return b"".join(parts)


def _encode_line(line: bytes) -> bytes:
    """:param line: b"" and fields of the connection become nothing."""
    name, _, value = line.partition(b":")
    name = name.lower()
    return encode_field(name, value.strip(b" \t")) if name and name not in NOT_IN_ANSWERS else b""


_encode_kept_lines = lru_cache(maxsize=_KEPT_HEADS)(_encode_lines)
_encode_kept_line = lru_cache(maxsize=_KEPT_LINES)(_encode_line)


@lru_cache(maxsize=1000)  # that is how many there are
def _encode_status(status: int) -> bytes:
    return encode_field(b":status", b"%d" % status)


class FieldDecoder:
    """Reads field sections.

    :ivar max_bytes: what one may become, as SETTINGS_MAX_HEADER_LIST_SIZE counts it.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._table: deque[tuple[bytes, bytes]] = deque()  # the newest first
        self._table_bytes = 0
        self._table_room = TABLE_BYTES

    def decode(self, data: bytes) -> Section:
        """Return the fields.

        :raises OversizedHeaderListError: they are too many, or too large.
        :raises HPACKDecodingError: they are not encoded as RFC 7541 says.
        """
        section: Section = []
        at, end = 0, len(data)
        size = 0
        while at < end:
            first = data[at]
            if 0x80 < first < _STATIC_END:  # most of what browsers send
                field = _STATIC[first - 0x81]
                at += 1
            elif first >= 0x80:
                index, at = self._integer(data, at, 0x7F)
                field = self._field(index)
            elif first >= 0x40:
                field, at = self._literal(data, at, 0x3F)
                self._remember(field)
            elif first >= 0x20:
                at = self._resize(data, at, first_of_section=not section)
                continue
            else:
                field, at = self._literal(data, at, 0x0F)
            size += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD_BYTES
            if size > self.max_bytes:
                raise OversizedHeaderListError("too large")
            section.append(field)
        return section

    @staticmethod
    def _integer(data: bytes, at: int, mask: int) -> tuple[int, int]:
        """Read an integer (section 5.1); return it, and where it ends."""
        if at >= len(data):
            raise HPACKDecodingError("truncated")
        number = data[at] & mask
        at += 1
        if number < mask:
            return number, at
        for shift in range(0, 7 * _MAX_INTEGER_BYTES, 7):
            if at >= len(data):
                raise HPACKDecodingError("truncated")
            byte = data[at]
            at += 1
            number += (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at
        raise HPACKDecodingError("an integer is too long")

    def _field(self, index: int) -> tuple[bytes, bytes]:
        """Return a field of the tables (section 2.3.3)."""
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        index -= len(_STATIC) + 1
        if 0 <= index < len(self._table):
            return self._table[index]
        raise HPACKDecodingError("no such index")

    def _text(self, data: bytes, at: int) -> tuple[bytes, int]:
        """Read a string (section 5.2)."""
        length, begin = self._integer(data, at, 0x7F)
        end = begin + length
        if end > len(data):
            raise HPACKDecodingError("truncated")
        text = data[begin:end]
        return (bytes(decode_huffman(text)) if data[at] & 0x80 else text), end

    def _literal(self, data: bytes, at: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        """Read a field that is written out (section 6.2)."""
        index, at = self._integer(data, at, mask)
        if index:
            name = self._field(index)[0]
        else:
            name, at = self._text(data, at)
        value, at = self._text(data, at)
        return (name, value), at

    def _remember(self, field: tuple[bytes, bytes]) -> None:
        self._table.appendleft(field)
        self._table_bytes += len(field[0]) + len(field[1]) + _FIELD_OVERHEAD_BYTES
        self._evict()

    def _resize(self, data: bytes, at: int, *, first_of_section: bool) -> int:
        room, at = self._integer(data, at, 0x1F)
        if not first_of_section or room > TABLE_BYTES:
            raise HPACKDecodingError("a wrong size of the table")
        self._table_room = room
        self._evict()
        return at

    def _evict(self) -> None:
        while self._table_bytes > self._table_room:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + _FIELD_OVERHEAD_BYTES
