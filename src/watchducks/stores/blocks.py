"""Columns packed once, and written as they lie in memory: how many rows get into a store cheaply.

A column of numbers is the memory of its numbers. A column of texts is the different texts, each
once, and for each row which of them; ClickHouse's type LowCardinality is the same on the wire, so
no row is looked at in Python on the way.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from operator import itemgetter
from struct import Struct
from typing import Final, Literal, NamedTuple, TypeVar

T = TypeVar("T")


class Numbers(NamedTuple):
    """Unsigned numbers, little-endian.

    :ivar bits: of each number: 8, 16, 32 or 64.
    """

    bits: int
    content: bytes

    def view(self) -> memoryview:
        """Return the numbers where they lie."""
        return memoryview(self.content).cast(_CODES[self.bits])

    def values(self) -> list[int]:
        """Return the numbers."""
        return self.view().tolist()


class Texts(NamedTuple):
    """Texts.

    :ivar distinct: UTF-8; one may be there twice.
    :ivar places: for each row the place of its text in ``distinct``: of 8, 16 or 32 bits.
    """

    distinct: Sequence[bytes]
    places: Numbers

    def values(self) -> list[str]:
        """Return the text of each row."""
        return list(pick([text.decode() for text in self.distinct], self.places.view()))


class Block(NamedTuple):
    """Columns of one table.

    :ivar rows: the length of each column, at least 1.
    """

    rows: int
    columns: dict[str, Numbers | Texts]


_CODES: Final[Mapping[int, Literal["B", "H", "I", "Q"]]] = {8: "B", 16: "H", 32: "I", 64: "Q"}
# What the protocols call a column of numbers. A DateTime is its POSIX seconds.
_NUMBERS: Final = {"UInt8": 8, "UInt16": 16, "UInt32": 32, "UInt64": 64, "DateTime": 32}
TEXTS: Final = "LowCardinality(String)"

# The version of the dictionaries, and then: they are in the block, they are no updates of earlier
# ones, and how many bits a place has.
_DICTIONARY: Final = Struct("<qq")
_DICTIONARY_FLAGS: Final = 1 << 9 | 1 << 10
_PLACE_FLAGS: Final = {8: 0, 16: 1, 32: 2}
_COUNT: Final = Struct("<q")


def pick(
    distinct: Sequence[T] | Mapping[int, T], places: Sequence[int] | memoryview
) -> tuple[T, ...]:
    """Return for each place what stands there: the fastest way that Python has."""
    if len(places) == 1:
        return (distinct[places[0]],)
    return itemgetter(*places)(distinct) if places else ()


def places_of(places: Sequence[int], count: int) -> Numbers:
    """Return the places of texts, in as few bits as will do for so many texts."""
    bits = 8 if count <= 1 << 8 else 16 if count <= 1 << 16 else 32
    return Numbers(bits, array(_CODES[bits], places).tobytes())


def type_of(column: Numbers | Texts) -> str:
    """Return the type under which a column can be sent to whoever casts it by himself."""
    return f"UInt{column.bits}" if isinstance(column, Numbers) else TEXTS


def content_of(column: Numbers | Texts, kind: str, rows: int) -> bytes:
    """Return a column as it stands in a block, after its name and type.

    :param kind: the type that the receiver wants.
    :raises ValueError: the column is not of that type.
    """
    if isinstance(column, Numbers):
        bits = _NUMBERS.get(kind.partition("(")[0])
        if bits != column.bits or len(column.content) * 8 != rows * bits:
            raise ValueError(f"a column of {rows} {kind} cannot be made of UInt{column.bits}")
        return column.content
    bits, places = column.places
    if len(places) * 8 != rows * bits:
        raise ValueError(f"a column of {rows} texts has {len(places)} bytes of places")
    distinct = [string(text) for text in column.distinct]
    if kind == TEXTS:
        return b"".join(
            (
                _DICTIONARY.pack(1, _DICTIONARY_FLAGS | _PLACE_FLAGS[bits]),
                _COUNT.pack(len(distinct)),
                *distinct,
                _COUNT.pack(rows),
                places,
            )
        )
    if kind == "String":
        if len(distinct) == 1:
            return distinct[0] * rows
        return b"".join(pick(distinct, column.places.view()))
    raise ValueError(f"a column of type {kind} cannot be made of texts")


def string(content: bytes) -> bytes:
    """Return bytes with their length before them."""
    return varint(len(content)) + content


def varint(number: int) -> bytes:
    """Return an unsigned LEB128."""
    if number < 0x80:
        return _SHORT[number]
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_SHORT: Final = [bytes([number]) for number in range(0x80)]


def native(block: Block) -> bytes:
    """Return the block in ClickHouse's format Native; the table's types are cast to."""
    out = [varint(len(block.columns)), varint(block.rows)]
    for name, column in block.columns.items():
        kind = type_of(column)
        out += (string(name.encode()), string(kind.encode()), content_of(column, kind, block.rows))
    return b"".join(out)
