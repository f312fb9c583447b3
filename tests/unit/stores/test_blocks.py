from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.stores.blocks import (
    TEXTS,
    Numbers,
    Texts,
    content_of,
    pick,
    places_of,
    string,
    varint,
)


@given(st.integers(0, 2**64 - 1))
def test_varint_is_leb128(number: int) -> None:
    read = sum((octet & 0x7F) << 7 * at for at, octet in enumerate(varint(number)))
    assert read == number
    assert [octet < 0x80 for octet in varint(number)] == [False] * (len(varint(number)) - 1) + [
        True
    ]


def test_strings_have_their_length_before_them() -> None:
    assert string(b"") == b"\0"
    assert string(b"x" * 200) == b"\xc8\x01" + b"x" * 200


@pytest.mark.parametrize("places", [[], [1], [2, 0, 2]])
def test_pick(places: list[int]) -> None:
    assert list(pick("abc", places)) == ["abc"[place] for place in places]


def test_values() -> None:
    assert Numbers(16, b"\1\0\0\1").values() == [1, 256]
    for count, bits in ((2, 8), (256, 8), (257, 16), (65_536, 16), (65_537, 32)):
        places = places_of([1, 0], count)
        assert places.bits == bits
        texts = Texts([b"a", "ü".encode()], places)
        assert texts.values() == ["ü", "a"]
        assert content_of(texts, "String", 2) == b"\2\xc3\xbc\1a"
    one = Texts([b"a"], Numbers(8, bytes(3)))
    assert (one.values(), content_of(one, "String", 3)) == (["a"] * 3, b"\1a" * 3)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (Numbers(32, bytes(8)), "UInt64"),
        (Numbers(32, bytes(8)), "String"),
        (Numbers(32, bytes(7)), "UInt32"),
        (Numbers(32, bytes(12)), "DateTime('UTC')"),
        (Texts([b"a"], Numbers(8, bytes(2))), "UInt32"),
        (Texts([b"a"], Numbers(32, bytes(8))), "LowCardinality(Nullable(String))"),
        (Texts([b"a"], Numbers(32, bytes(4))), TEXTS),
    ],
)
def test_a_column_that_does_not_fit(column: Numbers | Texts, kind: str) -> None:
    with pytest.raises(ValueError, match="column"):
        content_of(column, kind, 2)
