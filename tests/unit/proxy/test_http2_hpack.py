"""What the encoder writes, any decoder reads; and the decoder reads as the library's does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKDecodingError, HPACKError, OversizedHeaderListError
from hypothesis import example, given
from hypothesis import strategies as st

from watchducks.proxy.http2_hpack import (
    NO_TABLE,
    FieldDecoder,
    Section,
    encode_answer,
    encode_field,
    encode_section,
)

SECTIONS = st.lists(
    st.lists(
        st.tuples(
            st.one_of(st.binary(min_size=1, max_size=200), st.just(b":status")),
            st.one_of(st.binary(max_size=300), st.just(b"200")),
        )
    ),
    max_size=4,
)


MANY = 10**9


@given(sections=SECTIONS)
def test_it_is_read_as_it_was_and_nothing_is_remembered(sections: list[Section]) -> None:
    decoder = Decoder(max_header_list_size=MANY)
    for number, section in enumerate(sections):
        block = encode_section(section)
        got = decoder.decode(block if number else NO_TABLE + block, raw=True)
        assert [(bytes(name), bytes(value)) for name, value in got] == section
        assert decoder.header_table_size == 0
        assert not decoder.header_table.dynamic_entries


def test_an_answer_has_what_is_not_of_the_other_connection() -> None:
    lines = [
        b"Content-Type:  text/html \r\nETag: x\r\n",
        b"Connection: close\r\n",
        b"Transfer-Encoding: chunked\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nX: a: b\r\n",
        b"X-Request-Id: 1\r\n",
        b"Y: %b\r\n" % bytes(300).replace(b"\0", b"y"),
    ]
    for _ in range(2):  # also when some of it is kept
        assert FieldDecoder(MANY).decode(encode_answer(200, lines)) == [
            (b":status", b"200"),
            (b"content-type", b"text/html"),
            (b"etag", b"x"),
            (b"x", b"a: b"),
            (b"x-request-id", b"1"),
            (b"y", b"y" * 300),
        ]


def test_common_fields_are_short() -> None:
    assert encode_field(b":status", b"200") == b"\x88"
    assert encode_field(b"content-length", b"5") == b"\x0f\x0d\x015"
    assert encode_field(b"x", b"y") == b"\x00\x01x\x01y"


@given(sections=SECTIONS, sizes=st.lists(st.integers(0, 4096), max_size=4), huffman=st.booleans())
def test_what_any_encoder_writes_is_read(
    sections: list[Section], sizes: list[int], huffman: bool
) -> None:
    encoder, decoder = Encoder(), FieldDecoder(MANY)
    for number, section in enumerate(sections):
        for size in sizes[number : number + 2]:
            encoder.header_table_size = size
        assert decoder.decode(encoder.encode(section, huffman)) == section


def _outcome(decode: Callable[[bytes], Any], data: bytes) -> list[tuple[bytes, bytes]] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decode(data)]
    except (HPACKError, IndexError):
        return None


PARTS = st.one_of(
    st.binary(max_size=6),
    st.integers(0x80, 0xFF).map(lambda byte: bytes([byte])),
    st.integers(0, 40).map(lambda size: b"\x20" if size > 31 else bytes([0x20 | min(size, 30)])),
    st.tuples(st.sampled_from([0, 0x10, 0x40]), st.binary(max_size=5), st.binary(max_size=5)).map(
        lambda field: (
            bytes([field[0], len(field[1])]) + field[1] + bytes([len(field[2])]) + field[2]
        )
    ),
    st.tuples(st.integers(0x41, 0x7E), st.binary(max_size=9)).map(
        lambda field: bytes([field[0], 0x80 | len(field[1])]) + field[1]
    ),
)


@given(blocks=st.lists(st.lists(PARTS, max_size=8).map(b"".join), max_size=4))
@example([b"\x40\x01a\x01b", b"\xbe", b"\x20", b"\xbe"])
@example([b"\x3f\xe1\x1f", b"\x3f\xe2\x1f"])
@example([b"\xff\x80\x80\x80\x80\x80\x00"])
def test_whatever_is_sent_is_read_as_the_library_reads_it(blocks: list[bytes]) -> None:
    ours, theirs = FieldDecoder(65_536), Decoder()
    for data in blocks:
        got = _outcome(ours.decode, data)
        assert got == _outcome(lambda block: theirs.decode(block, raw=True), data)
        if got is None:
            return  # the connection ends here


def test_a_section_that_becomes_too_large_is_refused() -> None:
    decoder = FieldDecoder(100)
    decoder.decode(b"\x40\x01a" + b"\x41" + b"b" * 65)
    with pytest.raises(OversizedHeaderListError):
        decoder.decode(b"\xbe\xbe")
    with pytest.raises(HPACKDecodingError):
        decoder.decode(b"\x00\x7f\xff\xff\xff\xff\x0f")
