"""Field sections as bytes (RFC 7541), cheaper than the library's codec, whose places these take.

What we send never changes a table. A table of what was sent would make answers some hundred bytes
smaller, and cost more than all the rest of sending them: each field is looked for, and each of our
answers has some that no other has (its date, its id, its length). nginx does the same. It also
takes the size of that table out of the visitor's hands, who could let it grow without bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKDecodingError, OversizedHeaderListError
from hpack.hpack import encode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

Section = list[tuple[bytes, bytes]]

# "The table has no room": from the first field section on, so that no later SETTINGS of the
# visitor asks for an update (RFC 7541 section 4.2).
_NO_TABLE: Final = b"\x20"
# Fields that many answers share: 1 MB at most.
_KEPT_FIELDS: Final = 4096
# Longer ones (cookies, policies) are their answer's own, and so is this one.
_KEPT_BYTES: Final = 200
_OWN: Final = b"x-request-id"

_STATIC: Final = HeaderTable.STATIC_TABLE
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


_encode_kept = lru_cache(maxsize=_KEPT_FIELDS)(encode_field)


class PlainEncoder(Encoder):
    """:ivar rest: what :meth:`encode` writes after its argument: the library looks at ``:status``
    and at nothing else, but several times, so that it is given no more than that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rest: Section = []
        self._begun = False

    def encode(
        self,
        headers: Iterable[Any],
        huffman: bool = False,  # noqa: ARG002, FBT001, FBT002
    ) -> bytes:
        """Return the field section of ``headers``, pairs of bytes, and :attr:`rest`."""
        parts = [] if self._begun else [_NO_TABLE]
        self._begun = True
        for name, value in (*headers, *self.rest):
            kept = len(value) < _KEPT_BYTES and name != _OWN
            parts.append(_encode_kept(name, value) if kept else encode_field(name, value))
        self.rest = []
        return b"".join(parts)


class FieldDecoder(Decoder):
    """Reads field sections; ``max_header_list_size`` bounds what one may become."""

    def __init__(self) -> None:
        super().__init__()
        self._table: deque[tuple[bytes, bytes]] = deque()  # the newest first
        self._table_bytes = 0
        self._table_room = TABLE_BYTES

    def decode(self, data: bytes, raw: bool = True) -> Any:  # noqa: ARG002, FBT001, FBT002
        """Return the fields as pairs of bytes.

        :raises OversizedHeaderListError: they are too many, or too large.
        :raises HPACKDecodingError: they are not encoded as RFC 7541 says.
        """
        data = bytes(data)
        section: Section = []
        at, end = 0, len(data)
        size = 0
        while at < end:
            first = data[at]
            if first >= 0x80:
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
            if size > self.max_header_list_size:
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
