"""Octets: compression, whole record sets, options; against dnspython."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns as types

from watchducks.nameserver.answer import Answer, Section
from watchducks.nameserver.records import RRset, wire_name
from watchducks.nameserver.wire import (
    MAX_TCP_OCTETS,
    Malformed,
    encode,
    parse_query,
    read_options,
    write_option,
)

APEX = wire_name("example.com")
SOA = wire_name("ns1.example.com") + wire_name("host.example.com") + struct.pack("!5L", *range(5))


def written(answer: Answer, limit: int = MAX_TCP_OCTETS, *, edns: bool = False) -> bytes:
    packet = dns.message.make_query("www.EXAMPLE.com", "A", use_edns=edns).to_wire()
    query = parse_query(packet)
    response = encode(query, answer, limit).render(packet, query.end + 4)
    assert len(response) <= limit
    return response


def addresses(owner: str, count: int) -> tuple[bytes, RRset]:
    return wire_name(owner), RRset(types.A, 60, tuple(bytes((192, 0, 2, n)) for n in range(count)))


def test_names_are_written_once() -> None:
    """The question takes 21 octets; each further name two, or one label and two."""
    servers = RRset(types.NS, 60, (wire_name("ns1.example.com"), wire_name("ns2.example.com")))
    answer = Answer(0, answers=((APEX, servers),), additional=(addresses("ns2.example.com", 1),))
    response = written(answer)
    assert len(response) == 12 + 21 + 2 * (2 + 10 + 6) + (2 + 10 + 4)
    message = dns.message.from_wire(response)
    assert message.answer[0].to_text().lower().splitlines() == [
        "example.com. 60 in ns ns1.example.com.",
        "example.com. 60 in ns ns2.example.com.",
    ]


def test_names_in_newer_types_are_written_out() -> None:
    """RFC 3597 section 4: who does not know the type could not read them."""
    target = wire_name("www.example.com")
    for type_, before in ((types.SRV, bytes(6)), (65, b"\0\1")):
        rrset = RRset(type_, 60, (before + target,))
        assert before + target in written(Answer(0, answers=((APEX, rrset),)))


@pytest.mark.parametrize(
    ("type_", "rdata"),
    [
        (types.NS, APEX),
        (types.CNAME, wire_name("a.example.com")),
        (types.PTR, wire_name("elsewhere.test")),
        (types.MX, b"\0\1" + wire_name("mail.example.com")),
        (types.SOA, SOA),
    ],
)
def test_compressed_rdata_is_the_same_rdata(type_: int, rdata: bytes) -> None:
    message = dns.message.from_wire(
        written(Answer(0, answers=((APEX, RRset(type_, 60, (rdata,))),)))
    )
    assert message.answer[0][0].to_digestable() == rdata


def test_nothing_points_further_than_a_pointer_reaches() -> None:
    targets = tuple(b"\0\1" + wire_name(f"host{n}.{'x' * 60}{n}.test") for n in range(400))
    again = tuple(addresses(f"host{n}.{'x' * 60}{n}.test", 1) for n in range(400))
    answer = Answer(0, answers=((APEX, RRset(types.MX, 60, targets)),), additional=again)
    response = written(answer)
    assert len(response) > 0x4000 + 10_000
    message = dns.message.from_wire(response)
    assert {rdata.to_digestable() for rdata in message.answer[0]} == set(targets)
    assert [rrset.name.to_wire() for rrset in message.additional] == [name for name, _ in again]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["www.example.com", "a.example.com", "b.test"]), st.integers(1, 9)
        ),
        max_size=12,
    ),
    st.integers(0, 3),
    st.integers(100, 900),
    st.booleans(),
)
def test_record_sets_are_whole_or_missing_and_tc_says_so(
    sets: list[tuple[str, int]], helpful: int, limit: int, edns: bool
) -> None:
    section: Section = tuple(
        (wire_name(owner), addresses(owner, count)[1]._replace(type=1_000 + index))
        for index, (owner, count) in enumerate(sets)
    )
    needed, rest = section[helpful:], section[:helpful]
    halves = len(needed) // 2
    answer = Answer(
        0, answers=needed[:halves], authority=needed[halves:-1], glue=needed[-1:], additional=rest
    )
    message = dns.message.from_wire(written(answer, limit, edns=edns))
    found = {
        int(rrset.rdtype): len(rrset)
        for part in (message.answer, message.authority, message.additional)
        for rrset in part
    }
    held = {rrset.type: len(rrset.rdatas) for _, rrset in section}
    assert found.items() <= held.items()
    missing = {rrset.type for _, rrset in needed} - found.keys()
    assert bool(message.flags & dns.flags.TC) == bool(missing)
    assert message.edns == (0 if edns else -1)


def test_a_large_response_code_is_shared_with_the_opt() -> None:
    assert dns.message.from_wire(written(Answer(23), edns=True)).rcode() == 23


def test_options_are_read_and_written() -> None:
    rdata = write_option(10, b"8 octets") + write_option(3, b"") + write_option(10, b"second")
    assert read_options(rdata) == {10: b"8 octets", 3: b""}
    assert read_options(b"") == {}
    for end in set(range(1, len(rdata))) - {12, 16}:
        with pytest.raises(Malformed):
            read_options(rdata[:end])
