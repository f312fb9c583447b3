"""The binary format of a segment file: each text once, and rows of equal length that refer to it.

A file begins with :data:`FILE_HEADER`; then one frame follows the other, with one or more of them
for the rows of a reactor turn::

    crc32    u32   of all that follows
    texts    u32   bytes of the texts
    rows     u32   bytes of the rows
    texts          what no earlier row of this file had: sources (who asks, and how), targets (path
                   and query) and referrers, each kind numbered from 0 in the order of their coming
    rows           of 64 bytes: numbers, those of a source, a target and a referrer among them

All integers are little-endian, as in the memory of every machine that ClickHouse runs on. Most rows
repeat all three, so writing one costs three look-ups and no encoding; and as rows are equally long,
a column of numbers is read without looking at single rows.

A process may die, or a disk fill up, in the middle of a write: reading stops at the first frame
that is incomplete or fails its checksum, and everything before it is good. Lone surrogates (bytes
a visitor sent that are no UTF-8) survive the round trip ("surrogatepass").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from sys import intern
from typing import Final, Literal, NamedTuple
from zlib import crc32

# The last byte is the version of the format; a reader refuses what it does not know.
FILE_HEADER: Final = b"WDROWS\x00\x02"

# Bounds of the texts, in characters. What is longer is cut: a visitor chooses these texts, and an
# unbounded one would let a visitor fill the disk.
WORD_CHARACTERS: Final = 32  # kind, scheme, protocol, method: the longest registered method has 17
HOST_CHARACTERS: Final = 255  # RFC 1035: the longest domain name
TARGET_CHARACTERS: Final = 2048  # longer ones are attacks or data; they would not rank in any chart
REASON_CHARACTERS: Final = 64  # our own words
CLIENT_CHARACTERS: Final = 64  # an IPv6 address with its zone has at most 56
USER_AGENT_CHARACTERS: Final = 512  # the longest of in-app browsers stay below 400
REFERRER_CHARACTERS: Final = 2048  # only its host is kept later
# What stands between a target's path and its query; a query that is empty has none.
QUERY_MARK: Final = "?"

# A frame is closed at either, so that what a crash in the middle of its write loses, or looks like
# damage, is bounded: a busy turn has a few hundred rows.
FRAME_ROWS: Final = 512
FRAME_TEXT_BYTES: Final = 64 * 1024

# Sources that are remembered: a visitor is in one segment after the other. Reading one takes 3 us,
# finding it again 0.2; some 8 MB, and eight times as much when all are as long as they may be.
KEPT_SOURCES: Final = 8192

HEAD: Final = struct.Struct("<III")
CHECKSUM: Final = struct.Struct("<I")  # the head's beginning ...
LENGTHS: Final = struct.Struct("<II")  # ... and its rest
# time_us, duration_us, origin_us, request_bytes, response_bytes; seconds, source, target, referrer;
# status, traits. The rest makes a row a multiple of eight, for columns to be aligned.
ROW: Final = struct.Struct("<5Q4I2H4x")
# A mark, then a source: its site, the lengths of its texts in characters, and the bytes of these
# texts, which follow as one UTF-8 run; or a target or a referrer: its bytes, which follow.
SOURCE_TEXTS: Final = struct.Struct("<BI8HH")
TEXT: Final = struct.Struct("<BH")
# Where in a source's head the bytes of its texts stand.
_SIZE_AT: Final = SOURCE_TEXTS.size - 2
SOURCE_MARK: Final = 1
TARGET_MARK: Final = 2
REFERRER_MARK: Final = 3

_LONGEST_TEXTS: Final = (
    SOURCE_TEXTS.size
    + 2 * TEXT.size
    + 4  # bytes: the longest UTF-8 character
    * (
        4 * WORD_CHARACTERS
        + HOST_CHARACTERS
        + TARGET_CHARACTERS
        + REASON_CHARACTERS
        + CLIENT_CHARACTERS
        + USER_AGENT_CHARACTERS
        + REFERRER_CHARACTERS
    )
)
# A longer frame cannot have been written by an Encoder (encoder.py).
MAX_FRAME_BYTES: Final = HEAD.size + FRAME_ROWS * ROW.size + FRAME_TEXT_BYTES + _LONGEST_TEXTS


class Source(NamedTuple):
    """Who asks, and how: what most requests of one visitor have in common."""

    site_id: int
    kind: str
    scheme: str
    protocol: str
    method: str
    host: str
    reason: str
    client: str
    user_agent: str


class Decoded(NamedTuple):
    """What could be read of a segment file.

    :ivar rows: every row up to the first damage, as :data:`ROW` packs them.
    :ivar lost_bytes: how many bytes at the end could not be read; 0 for a whole file.
    """

    sources: list[Source]
    targets: list[str]
    referrers: list[str]
    rows: bytes
    lost_bytes: int

    @property
    def row_count(self) -> int:
        """The number of rows."""
        return len(self.rows) // ROW.size


def decode(content: bytes) -> Decoded:
    """Read a segment file from its beginning. Never raises, whatever ``content`` is."""
    found = Decoded([], [], [], b"", len(content))
    if not content.startswith(FILE_HEADER):
        return found
    frames: list[tuple[int, bytes]] = []  # where it begins, and its rows
    end = len(content)
    at = len(FILE_HEADER)
    while at + HEAD.size <= end:
        checksum, texts_bytes, rows_bytes = HEAD.unpack_from(content, at)
        rows_at = at + HEAD.size + texts_bytes
        after = rows_at + rows_bytes
        if after > end or after - at > MAX_FRAME_BYTES:
            break
        if crc32(content[at + CHECKSUM.size : after]) != checksum:
            break
        if rows_bytes % ROW.size or not _read_texts(found, content[at + HEAD.size : rows_at]):
            break
        frames.append((at, content[rows_at:after]))
        at = after
    rows = b"".join(rows for _, rows in frames)
    # All at once, as it takes as long for one frame as for a thousand rows. It never is so.
    while not _are_rows(found, rows):
        at, wrong = frames.pop()
        rows = rows[: len(rows) - len(wrong)]
    return found._replace(rows=rows, lost_bytes=end - at)


Code = Literal["Q", "I", "H"]

# Columns, as column() takes them: those behind the five numbers of 64 bits.
SECONDS: Final[tuple[Code, int]] = ("I", 10)
SOURCE: Final[tuple[Code, int]] = ("I", 11)
TARGET: Final[tuple[Code, int]] = ("I", 12)
REFERRER: Final[tuple[Code, int]] = ("I", 13)
# Of 16 bits: 28 of them stand before these.
STATUS: Final[tuple[Code, int]] = ("H", 28)
TRAITS: Final[tuple[Code, int]] = ("H", 29)


def column(rows: bytes, code: Code, place: int) -> memoryview:
    """Return one column of packed rows, without a look at single rows.

    :param code: as in :data:`ROW`.
    :param place: how many numbers of this size stand before it in a row.
    """
    view = memoryview(rows).cast(code)
    return view[place :: ROW.size // view.itemsize]


def sites_and_seconds(decoded: Decoded) -> Iterator[tuple[int, int]]:
    """Yield site and POSIX seconds of each row."""
    for source, seconds in zip(
        column(decoded.rows, *SOURCE), column(decoded.rows, *SECONDS), strict=True
    ):
        yield decoded.sources[source].site_id, seconds


def _are_rows(found: Decoded, rows: bytes) -> bool:
    """Whether these rows refer to texts that are there."""
    return all(
        max(column(rows, *place).tolist(), default=-1) < len(known)
        for place, known in (
            (SOURCE, found.sources),
            (TARGET, found.targets),
            (REFERRER, found.referrers),
        )
    )


def _read_texts(found: Decoded, texts: bytes) -> bool:
    """Add the texts; return False if no encoder can have written them."""
    at, end = 0, len(texts)
    try:
        while at < end:
            if texts[at] == SOURCE_MARK:
                size = texts[at + _SIZE_AT] | texts[at + _SIZE_AT + 1] << 8
                found.sources.append(_read_source(texts[at : at + SOURCE_TEXTS.size + size]))
                at += SOURCE_TEXTS.size
            else:
                mark, size = TEXT.unpack_from(texts, at)
                at += TEXT.size
                text = texts[at : at + size].decode("utf-8", "surrogatepass")
                if mark == TARGET_MARK:
                    found.targets.append(text)
                elif mark == REFERRER_MARK:
                    found.referrers.append(text)
                else:
                    return False
            at += size
    # Too short, no UTF-8, lengths that are not the texts'.
    except (struct.error, ValueError, IndexError):
        return False
    return at == end


_CLIENT: Final = Source._fields.index("client") - 1


@lru_cache(maxsize=KEPT_SOURCES)
def _read_source(record: bytes) -> Source:
    _, site_id, *lengths, _ = SOURCE_TEXTS.unpack_from(record)
    texts = _cut(record[SOURCE_TEXTS.size :], lengths)
    # All but the address are those of thousands of others, too, and kept once.
    shared = [text if place == _CLIENT else intern(text) for place, text in enumerate(texts)]
    return Source(site_id, *shared)


def forget_sources() -> None:
    """Forget the sources that were read: they tell visitors' addresses."""
    _read_source.cache_clear()


def _cut(content: bytes, lengths: Sequence[int]) -> list[str]:
    """Cut a run of texts. :raises ValueError: it is no UTF-8, or not as long as they are."""
    text = content.decode("utf-8", "surrogatepass")
    cut = []
    begin = 0
    for length in lengths:
        cut.append(text[begin : begin + length])
        begin += length
    if begin != len(text):
        raise ValueError("lengths that are not the texts'")
    return cut
