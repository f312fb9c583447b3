from __future__ import annotations

import struct
from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.journal.samples import ROWS, row
from watchducks.journal.records import (
    FILE_HEADER,
    MAX_BODY_BYTES,
    PATH_CHARACTERS,
    USER_AGENT_CHARACTERS,
    decode,
    encode_row,
)
from watchducks.model.rows import Row

FILES = st.lists(ROWS, max_size=8)


def file_of(rows: list[Row]) -> bytes:
    return FILE_HEADER + b"".join(map(encode_row, rows))


@given(FILES)
def test_what_was_written_is_read(rows: list[Row]) -> None:
    assert decode(file_of(rows)) == (rows, 0)


@given(FILES, st.data())
def test_a_torn_file_gives_the_rows_before_the_tear(rows: list[Row], data: st.DataObject) -> None:
    content = file_of(rows)
    end = data.draw(st.integers(0, len(content)))
    whole = 0
    while whole < len(rows) and len(file_of(rows[: whole + 1])) <= end:
        whole += 1
    decoded = decode(content[:end])
    assert decoded.rows == rows[:whole]
    good = len(file_of(rows[:whole])) if end >= len(FILE_HEADER) else 0
    assert decoded.lost_bytes == end - good


@given(st.lists(ROWS, min_size=1, max_size=5), st.data())
def test_a_flipped_byte_never_makes_a_row_of_its_own(rows: list[Row], data: st.DataObject) -> None:
    content = bytearray(file_of(rows))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    decoded = decode(bytes(content))
    assert decoded.rows == rows[: len(decoded.rows)]
    assert len(decoded.rows) < len(rows)
    assert decoded.lost_bytes > 0


@given(st.binary(max_size=400))
def test_garbage_is_no_row(content: bytes) -> None:
    assert decode(FILE_HEADER + content) == ([], len(content))
    assert decode(b"\0" + content) == ([], len(content) + 1)


def test_zeros_at_the_end_are_no_rows() -> None:
    # What a file system may leave after a power cut; crc32 of nothing is zero, too.
    assert decode(file_of([row()]) + bytes(4096)) == ([row()], 4096)


def test_a_body_with_a_right_checksum_and_wrong_lengths_is_no_row() -> None:
    record = encode_row(row())
    (length, _) = struct.unpack_from("<II", record)
    body = record[8:] + b"x"
    assert decode(FILE_HEADER + struct.pack("<II", length + 1, crc32(body)) + body).rows == []
    body = record[8:-1] + b"\xff"
    assert decode(FILE_HEADER + struct.pack("<II", length, crc32(body)) + body).rows == []


def test_the_next_version_of_the_format_is_not_misread() -> None:
    content = bytearray(file_of([row()]))
    content[len(FILE_HEADER) - 1] += 1
    assert decode(bytes(content)).rows == []


def test_long_texts_are_cut_and_wrong_numbers_clamped() -> None:
    wild = row(
        path="/" * 100_000,
        user_agent="🦆" * 100_000,
        referrer="x" * 100_000,
        host="h" * 1000,
        time_us=-(2**70),
        site_id=-1,
        status=100_000,
        duration_us=-5,
        request_bytes=2**80,
    )
    record = encode_row(wild)
    assert len(record) <= 8 + MAX_BODY_BYTES
    (read,) = decode(FILE_HEADER + record).rows
    assert read.path == "/" * PATH_CHARACTERS
    assert read.user_agent == "🦆" * USER_AGENT_CHARACTERS
    assert (read.time_us, read.site_id, read.status) == (0, 0, 65535)
    assert (read.duration_us, read.request_bytes) == (0, 2**63 - 1)
