"""Zone contents survive packing, and nothing else unpacks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchducks.model.zones import DEFAULT_CONTENTS, Record, ZoneContents

_RECORDS = st.builds(
    Record,
    owner=st.binary(max_size=250),
    type=st.integers(1, 65_535),
    ttl=st.integers(0, 2**31 - 1),
    rdata=st.binary(max_size=600),
)
_HOSTS = st.lists(st.sampled_from(["@", "www", "shop", "a.b"]), unique=True)
_CONTENTS = st.builds(
    ZoneContents,
    proxied=_HOSTS.map(tuple),
    records=st.lists(_RECORDS, max_size=5).map(tuple),
)


@given(_CONTENTS)
def test_contents_survive_packing(contents: ZoneContents) -> None:
    assert ZoneContents.unpack(contents.pack()) == contents


def test_what_every_new_zone_holds_takes_no_room_and_is_one_object() -> None:
    assert ZoneContents().pack() == b""
    assert ZoneContents.unpack(b"") is DEFAULT_CONTENTS


@given(_CONTENTS.filter(lambda contents: bool(contents.records)), st.data())
def test_cut_off_contents_are_never_taken_for_others(
    contents: ZoneContents, data: st.DataObject
) -> None:
    packed = contents.pack()
    cut = packed[: data.draw(st.integers(1, len(packed) - 1))]
    try:
        shorter = ZoneContents.unpack(cut)
    except ValueError:
        return
    # Between two records nothing is missing that the octets could tell; stores keep lengths.
    assert shorter.proxied == contents.proxied
    assert shorter.records == contents.records[: len(shorter.records)]


@pytest.mark.parametrize("packed", [b"\x02\x00\x00", b"\x01", b"\x01\x00\x01\xff", b"x" * 40])
def test_what_was_not_packed_by_us_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="zone contents"):
        ZoneContents.unpack(packed)
