from __future__ import annotations

import struct
from itertools import chain
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.journal.samples import ROWS, file_of, read, row
from watchducks.journal.encoder import Encoder
from watchducks.journal.records import (
    FILE_HEADER,
    FRAME_ROWS,
    MAX_FRAME_BYTES,
    ROW,
    TARGET_CHARACTERS,
    TRAITS,
    USER_AGENT_CHARACTERS,
    column,
    decode,
    sites_and_seconds,
)
from watchducks.model.rows import Row

# The rows of some turns.
TURNS = st.lists(st.lists(ROWS, min_size=1, max_size=4), max_size=4)


def frames_of(turns: list[list[Row]]) -> list[bytes]:
    encoder = Encoder()
    return [encoder.encode(turn).content for turn in turns]


@given(TURNS)
def test_what_was_written_is_read(turns: list[list[Row]]) -> None:
    content = FILE_HEADER + b"".join(frames_of(turns))
    assert read(content) == (list(chain(*turns)), 0)


@given(TURNS, st.data())
def test_a_torn_file_gives_the_frames_before_the_tear(
    turns: list[list[Row]], data: st.DataObject
) -> None:
    frames = frames_of(turns)
    content = FILE_HEADER + b"".join(frames)
    end = data.draw(st.integers(0, len(content)))
    whole = 0
    good = len(FILE_HEADER) if end >= len(FILE_HEADER) else 0
    while good and whole < len(frames) and good + len(frames[whole]) <= end:
        good += len(frames[whole])
        whole += 1
    assert read(content[:end]) == (list(chain(*turns[:whole])), end - good)


@given(st.lists(st.lists(ROWS, min_size=1, max_size=2), min_size=1, max_size=4), st.data())
def test_a_flipped_byte_never_makes_a_row_of_its_own(
    turns: list[list[Row]], data: st.DataObject
) -> None:
    content = bytearray(FILE_HEADER + b"".join(frames_of(turns)))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    rows, lost_bytes = read(bytes(content))
    written = list(chain(*turns))
    assert rows == written[: len(rows)]
    assert len(rows) < len(written)
    assert lost_bytes > 0


@given(st.binary(max_size=400))
def test_garbage_is_no_row(content: bytes) -> None:
    assert read(FILE_HEADER + content) == ([], len(content))
    assert read(b"\0" + content) == ([], len(content) + 1)


def test_zeros_at_the_end_are_no_rows() -> None:
    # What a file system may leave after a power cut.
    assert read(file_of(row()) + bytes(4096)) == ([row()], 4096)


SOURCE = struct.pack("<BI8HH", 1, 1, *[1] * 8, 8) + b"abcdefgh"
TARGET = struct.pack("<BH", 2, 1) + b"/"
REFERRER = struct.pack("<BH", 3, 0)
TEXTS = SOURCE + TARGET + REFERRER


def frame(texts: bytes, rows: bytes) -> bytes:
    body = struct.pack("<II", len(texts), len(rows)) + texts + rows
    return struct.pack("<I", crc32(body)) + body


def packed(source: int = 0, target: int = 0, referrer: int = 0) -> bytes:
    return ROW.pack(0, 0, 0, 0, 0, 0, source, target, referrer, 200, 0)


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (TEXTS, packed()[:-1]),
        (TEXTS, packed(source=1)),
        (TEXTS, packed(target=1)),
        (TEXTS, packed(referrer=1)),
        (SOURCE + TARGET, packed()),
        (TEXTS[:-1], b""),
        (TEXTS + b"\1", b""),
        (TEXTS + b"\4\0\0", b""),
        (SOURCE[:-1] + b"\xff" + TARGET + REFERRER, packed()),
        (struct.pack("<BI8HH", 1, 1, *[1] * 7, 2, 8) + b"abcdefgh", b""),
        (struct.pack("<BH", 2, 1) + b"\xff", b""),
        (struct.pack("<BH", 2, 9) + b"/", b""),
    ],
)
def test_what_no_encoder_wrote_is_no_row_whatever_its_checksum(texts: bytes, rows: bytes) -> None:
    assert decode(FILE_HEADER + frame(TEXTS, packed())).row_count == 1
    decoded = decode(FILE_HEADER + frame(texts, rows))
    assert (decoded.row_count, decoded.lost_bytes) == (0, len(frame(texts, rows)))


def test_the_next_version_of_the_format_is_not_misread() -> None:
    content = bytearray(file_of(row()))
    content[len(FILE_HEADER) - 1] += 1
    assert read(bytes(content)) == ([], len(content))


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
    encoder = Encoder()
    content = encoder.encode([wild]).content
    assert len(content) <= MAX_FRAME_BYTES
    again = encoder.encode([wild, wild]).content
    assert len(again) < len(content) / 10, "texts that were cut are written each time"
    (one, two, three), _ = read(FILE_HEADER + content + again)
    assert one == two == three
    assert one.path == "/" * TARGET_CHARACTERS
    assert one.user_agent == "🦆" * USER_AGENT_CHARACTERS
    assert (one.time_us, one.site_id, one.status) == (0, 0, 65535)
    assert (one.duration_us, one.request_bytes) == (0, 2**64 - 1)
    (late,), _ = read(file_of(row(time_us=2**63)))
    assert late.time_us == (2**32 - 1) * 1_000_000


def test_a_busy_turn_is_several_frames_of_bounded_length() -> None:
    rows = [row(number) for number in range(2 * FRAME_ROWS + 1)]
    content = Encoder().encode(rows).content
    _, texts, packed_rows = struct.unpack_from("<III", content)
    assert packed_rows == FRAME_ROWS * ROW.size
    assert 12 + texts + packed_rows <= MAX_FRAME_BYTES
    assert read(FILE_HEADER + content) == (rows, 0)
    # Long texts close a frame, too.
    wild = [row(number, path=f"/{number}" + "🦆" * 2040) for number in range(100)]
    content = Encoder().encode(wild).content
    _, texts, packed_rows = struct.unpack_from("<III", content)
    assert 12 + texts + packed_rows <= MAX_FRAME_BYTES < len(content)
    assert read(FILE_HEADER + content) == (wild, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"path": None}, {"user_agent": 5}, {"site_id": "x"}, {"status": "x"}, {"host": ["a"]}],
)
def test_a_row_of_wrong_types_does_not_take_others_along(wrong: dict[str, object]) -> None:
    encoder = Encoder()
    encoded = encoder.encode([row(1), row(2, **wrong), row(3)])
    assert (encoded.rows, encoded.failures) == (2, 1)
    assert encoded.error is not None
    content = FILE_HEADER + encoded.content + encoder.encode([row(4)]).content
    assert read(content) == ([row(1), row(3), row(4)], 0)


def test_a_query_is_a_part_of_the_target_and_traits_are_a_number() -> None:
    asked = row(query="a=b?c", traits=27)
    content = file_of(asked, row(query=""), row(path="/0", query="x" * TARGET_CHARACTERS))
    decoded = decode(content)
    assert decoded.targets[:2] == ["/0?a=b?c", "/0"]
    assert column(decoded.rows, *TRAITS).tolist() == [27, 0, 0]
    rows, _ = read(content)
    assert rows[0] == asked
    assert len(rows[2].path + rows[2].query) == TARGET_CHARACTERS - 1


def test_sites_and_seconds() -> None:
    decoded = decode(file_of(row(1, site_id=7), row(2, time_us=5_999_999)))
    assert list(sites_and_seconds(decoded)) == [(7, row().time_us // 1_000_000), (1, 5)]
