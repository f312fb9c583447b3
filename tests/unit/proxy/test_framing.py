"""Where a body ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.proxy.framing import (
    CHUNKED,
    LAST_CHUNK,
    UNTIL_CLOSE,
    BadBody,
    BodyReader,
    chunk,
    reader_for,
)


def read_all(reader: BodyReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    body = rest = b""
    for piece in pieces:
        if reader.done:
            rest += piece
        else:
            part, left = reader.read(piece)
            body, rest = body + part, rest + left
    return body, rest


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


def reader(length: int) -> BodyReader:
    made = reader_for(length)
    assert made is not None
    return made


@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    st.lists(st.integers(0, 30), max_size=20),
    st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    st.binary(max_size=20),
)
def test_chunks_come_back_however_they_are_cut(
    chunks: list[bytes], sizes: list[int], trailers: bytes, after: bytes
) -> None:
    data = b"".join(map(chunk, chunks)) + b"0\r\n" + trailers + b"\r\n" + after
    chunked = reader(CHUNKED)
    assert read_all(chunked, cut(data, sizes)) == (b"".join(chunks), after)
    assert chunked.done


@given(st.binary(min_size=1, max_size=80), st.lists(st.integers(0, 30), max_size=9), st.binary())
def test_a_length_is_exact(body: bytes, sizes: list[int], after: bytes) -> None:
    counted = reader(len(body))
    assert read_all(counted, cut(body + after, sizes)) == (body, after)
    assert counted.done


@given(st.binary(max_size=200))
def test_what_is_not_chunked_is_refused_or_wants_more_but_never_breaks(data: bytes) -> None:
    whole, bytewise = reader(CHUNKED), reader(CHUNKED)
    try:
        expected: object = read_all(whole, [data])
    except BadBody:
        expected = BadBody
    try:
        got: object = read_all(bytewise, [bytes([byte]) for byte in data])
    except BadBody:
        got = BadBody
    assert got == expected
    assert whole.done == bytewise.done or expected is BadBody


@pytest.mark.parametrize(
    "data",
    [
        b"g\r\n",
        b"-1\r\n",
        b"5\n",
        b" 5\r\n",
        b"5 \r\n",
        b"0x5\r\n",
        b"5;\x00\r\n",
        b"5;a\rb\r\n",
        b"1234567890abcdef\r\n",
        b"2\r\nabc",
        b"1\r\na\n",
        b"0\r\n bad: x\r\n\r\n",
        b"0\r\nbad\r\n\r\n",
        b"0\r\na: b\n\r\n",
        b"5;" + b"e" * 300,
        b"0\r\n" + b"a: b\r\n" * 2000,
    ],
)
def test_odd_chunks_are_refused(data: bytes) -> None:
    with pytest.raises(BadBody):
        read_all(reader(CHUNKED), [data, b"\r\n\r\n"])


def test_a_body_until_close_never_ends_by_itself() -> None:
    endless = reader(UNTIL_CLOSE)
    assert endless.read(LAST_CHUNK) == (LAST_CHUNK, b"")
    assert not endless.done


def test_no_body_has_no_reader() -> None:
    assert reader_for(0) is None
