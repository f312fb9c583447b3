"""Names in wire form, against dnspython."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.nameserver.records import is_below, mailbox_name, suffix_offsets, wire_name

LABELS = st.lists(st.from_regex(r"[a-zA-Z0-9-]{1,12}", fullmatch=True), min_size=1, max_size=6)


@given(LABELS)
def test_a_name_is_what_dnspython_makes_of_it_in_lower_case(labels: list[str]) -> None:
    text = ".".join(labels)
    assert wire_name(text) == dns.name.from_text(text.lower()).to_wire()
    assert wire_name(text + ".") == wire_name(text)


@pytest.mark.parametrize("text", ["", ".", "a..b", "a" * 64 + ".example", "é.example"])
def test_what_is_not_a_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        wire_name(text)


def test_a_name_has_at_most_255_octets() -> None:
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(wire_name(longest)) == 255
    with pytest.raises(ValueError, match="longer than 255"):
        wire_name("x." + longest)


def test_a_mailbox_keeps_the_dots_of_its_local_part_in_one_label() -> None:
    assert mailbox_name("watch.ducks@Example.com") == b"\x0bwatch.ducks\x07example\x03com\x00"
    assert mailbox_name("x" * 64 + "@example.com").startswith(b"\x0ahostmaster\x07example")


def test_suffixes_go_from_the_name_itself_to_the_root() -> None:
    name = wire_name("www.example.com")
    assert [name[offset:] for offset in suffix_offsets(name)] == [
        wire_name("www.example.com"),
        wire_name("example.com"),
        wire_name("com"),
        b"\0",
    ]


def test_below_is_by_label_and_not_by_octet() -> None:
    assert is_below(wire_name("www.example.com"), wire_name("example.com"))
    assert is_below(wire_name("example.com"), wire_name("example.com"))
    assert not is_below(wire_name("com"), wire_name("example.com"))
    # One label that ends in the very octets of the apex.
    assert not is_below(b"\x0dx\x07example\x03com\x00", wire_name("example.com"))
