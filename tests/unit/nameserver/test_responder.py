"""Packets: what gets no response, what an error, EDNS and sizes, and the cache of replies."""

from __future__ import annotations

import ipaddress
import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.unit.nameserver.fakes import (
    PROXY4,
    Asker,
    FixedVerdicts,
    changed,
    rdatas,
    site,
    zone_table,
)
from watchducks.nameserver import replies as module
from watchducks.nameserver.records import wire_name
from watchducks.nameserver.replies import cache_key
from watchducks.nameserver.responder import FAILURE_REPORT_SECONDS, Responder
from watchducks.nameserver.wire import Malformed, parse_query

MANY = tuple(ipaddress.ip_address(f"203.0.113.{number}") for number in range(1, 60))


@pytest.fixture
def asker() -> Asker:
    return Asker(zone_table(site("example.com")), FixedVerdicts(PROXY4))


def query(name: str = "www.example.com", type_: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, type_, **options).to_wire()  # type: ignore[arg-type]


# --- what gets no answer, and what an error ------------------------------------------------------


@pytest.mark.parametrize("length", range(12))
def test_less_than_a_header_gets_no_response(asker: Asker, length: int) -> None:
    assert asker.responder.respond(query()[:length], datagram=True) is None


def test_a_response_gets_no_response(asker: Asker) -> None:
    packet = bytearray(query())
    packet[2] |= 0x80
    assert asker.responder.respond(bytes(packet), datagram=True) is None


def assert_format_error(asker: Asker, packet: bytes) -> None:
    response = asker.responder.respond(packet, datagram=True)
    assert response is not None
    message = dns.message.from_wire(response)
    assert message.id == int.from_bytes(packet[:2], "big")
    assert message.rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize("length", range(12, len(query(use_edns=0))))
def test_every_query_that_is_cut_off_is_a_format_error(asker: Asker, length: int) -> None:
    assert_format_error(asker, query(use_edns=0)[:length])


HEADER = struct.Struct("!HHHHHH")
NAME = b"\x03www\x07example\x03com\x00"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(HEADER.pack(1, 0, 0, 0, 0, 0), id="no question"),
        pytest.param(HEADER.pack(1, 0, 2, 0, 0, 0) + (NAME + b"\0\1\0\1") * 2, id="two questions"),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1", id="question points at itself"
        ),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 0) + b"\x40" + b"a" * 64 + b"\0\0\1\0\1", id="label of 64"
        ),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 0) + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
            id="name of 257",
        ),
        pytest.param(HEADER.pack(1, 0, 1, 0, 0, 0) + NAME + b"\0\1\0\1\0", id="an octet over"),
        pytest.param(HEADER.pack(1, 0, 1, 0, 0, 2) + NAME + b"\0\1\0\1" + OPT * 2, id="two OPTs"),
        pytest.param(
            HEADER.pack(1, 0, 1, 1, 0, 0) + NAME + b"\0\1\0\1" + OPT, id="OPT as an answer"
        ),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 1) + NAME + b"\0\1\0\1\1a" + OPT, id="OPT with an owner"
        ),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 1) + NAME + b"\0\1\0\1" + OPT[:-1] + b"\x05",
            id="OPT longer than the packet",
        ),
        pytest.param(
            HEADER.pack(1, 0, 1, 0, 0, 1) + NAME + b"\0\1\0\1\x80" + OPT, id="unknown label type"
        ),
    ],
)
def test_malformed_packets_are_format_errors(asker: Asker, packet: bytes) -> None:
    assert_format_error(asker, packet)


def test_records_that_do_not_concern_us_are_skipped(asker: Asker) -> None:
    extra = b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x00\x00\x02\x01x"
    packet = HEADER.pack(1, 0, 1, 0, 0, 2) + NAME + b"\0\1\0\1" + extra + OPT
    response = asker.responder.respond(packet, datagram=True)
    assert response is not None
    message = dns.message.from_wire(response)
    assert message.rcode() == dns.rcode.NOERROR
    assert message.edns == 0


# --- EDNS, sizes, flags --------------------------------------------------------------------------


def test_edns_is_answered_with_edns_and_only_then(asker: Asker) -> None:
    assert asker.send(dns.message.make_query("example.com", "A")).edns == -1
    secure = asker.send(dns.message.make_query("example.com", "A", want_dnssec=True))
    assert (secure.edns, secure.payload) == (0, 1232)
    assert secure.ednsflags & dns.flags.DO
    plain = asker.send(dns.message.make_query("example.com", "A", use_edns=0))
    assert (plain.edns, plain.payload, plain.ednsflags & dns.flags.DO) == (0, 1232, 0)


def test_an_unknown_edns_version_is_badvers(asker: Asker) -> None:
    message = asker.send(dns.message.make_query("example.com", "A", use_edns=1))
    assert message.rcode() == dns.rcode.BADVERS
    assert message.edns == 0
    assert message.answer == []
    assert not message.flags & dns.flags.AA


def test_unknown_options_are_ignored_and_not_echoed(asker: Asker) -> None:
    option = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"\1\2\3\4\5\6\7\x08")
    for _ in range(2):  # the second from the cache
        response = asker.send(
            dns.message.make_query("www.example.com", "A", use_edns=0, options=[option])
        )
        assert rdatas(response.answer) == [f"www.example.com. 30 IN A {PROXY4}"]
        assert response.options == ()


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize(
    ("edns", "payload", "udp", "truncated"),
    [
        (False, 0, True, True),
        (True, 100, True, True),  # less than 512 means 512
        (True, 512, True, True),
        (True, 960, True, True),
        (True, 1232, True, False),
        (True, 65535, True, False),
        (False, 0, False, False),
        (True, 512, False, False),
    ],
)
def test_what_does_not_fit_is_truncated_and_complete_over_tcp(
    edns: bool, payload: int, udp: bool, truncated: bool, repeated: bool
) -> None:
    asker = Asker(zone_table(site("example.com")), FixedVerdicts(*MANY))
    message = dns.message.make_query(
        "www.example.com", "A", use_edns=0 if edns else False, payload=payload or 1232
    )
    if repeated:  # whole replies of both kinds are in the cache now
        asker.send(message, udp=False)
    response = asker.send(message, udp=udp)
    assert bool(response.flags & dns.flags.TC) is truncated
    assert len(rdatas(response.answer)) == (0 if truncated else len(MANY))
    assert response.edns == (0 if edns else -1)


@pytest.mark.parametrize("count", [39, 40])
def test_the_limit_is_met_to_the_octet(count: int) -> None:
    fits = (512 - 12 - 17) // 16  # header, question, and a record: pointer, numbers, address
    asker = Asker(zone_table(site("example.com")), FixedVerdicts(*MANY[: fits + count - 39]))
    wire = asker.responder.respond(query("example.com", use_edns=False), datagram=True)
    assert wire is not None
    assert bool(wire[2] & 0x02) is (count == 40)
    assert len(wire) == (12 + 17 + 16 * fits if count == 39 else 12 + 17)


def test_addresses_of_servers_are_left_out_before_anything_is_truncated() -> None:
    names = [f"{'n' * 60}{number}.example.com" for number in range(6)]
    asker = Asker(zone_table(site("example.com"), names=names), FixedVerdicts(PROXY4))
    small = asker.ask("example.com", "NS")
    assert not small.flags & dns.flags.TC
    assert len(small.answer[0]) == 6
    assert len(small.additional) < 6
    whole = asker.ask("example.com", "NS", edns=True)
    assert len(rdatas(whole.additional)) >= 6


@pytest.mark.parametrize("flags", [0, dns.flags.RD, dns.flags.CD, dns.flags.RD | dns.flags.CD])
def test_rd_and_cd_are_echoed_also_from_the_cache(asker: Asker, flags: int) -> None:
    asker.ask("www.example.com")
    message = dns.message.make_query("www.example.com", "A", flags=flags | dns.flags.AD)
    assert asker.send(message).flags == dns.flags.QR | dns.flags.AA | flags


# --- the cache -----------------------------------------------------------------------------------


def test_a_repeated_question_is_answered_from_the_cache_with_its_own_id_and_case(
    asker: Asker,
) -> None:
    asker.ask("www.example.com")
    asker.verdicts.broken = True  # who asks the verdicts now fails
    for name in ("www.example.com", "WWW.EXAMPLE.COM", "wWw.ExAmPlE.cOm"):
        response = asker.ask(name)
        assert response.question[0].name.to_text() == name + "."
        assert rdatas(response.answer) == [f"{name}. 30 IN A {PROXY4}"]


def test_a_change_of_verdict_or_zone_is_answered_at_once(asker: Asker) -> None:
    asker.ask("www.example.com")
    asker.verdicts.set()
    assert rdatas(asker.ask("www.example.com").answer) == ["www.example.com. 30 IN A 198.51.100.7"]
    asker.zones.apply(changed([site("example.com", "198.51.100.8")]))
    assert rdatas(asker.ask("www.example.com").answer) == ["www.example.com. 30 IN A 198.51.100.8"]
    asker.zones.apply(changed(removed=["example.com"]))
    assert asker.ask("www.example.com").rcode() == dns.rcode.REFUSED


def test_types_that_differ_by_a_letter_s_case_are_told_apart(asker: Asker) -> None:
    """Type 65 (HTTPS) and 97 are the octets "A" and "a"."""
    keys = {cache_key(query("example.com", f"TYPE{number}")) for number in (65, 97)}
    assert len(keys) == 2


def test_kinds_of_edns_have_keys_of_their_own() -> None:
    keys = {
        cache_key(query(use_edns=False)),
        cache_key(query(use_edns=0)),
        cache_key(query(want_dnssec=True)),
    }
    assert len(keys) == 3
    assert None not in keys
    assert cache_key(query(use_edns=0, payload=512)) == cache_key(query(use_edns=0, payload=4096))
    assert cache_key(query(use_edns=1)) is None


def test_the_cache_is_bounded_and_random_names_do_not_enter(asker: Asker) -> None:
    for number in range(300):
        asker.ask(f"x{number}.example.com")
        asker.ask(f"x{number}.example.org")
    assert len(asker.responder._cache.replies) == 0
    full = {str(number).encode(): None for number in range(module.MAX_CACHED_REPLIES)}
    asker.responder._cache.replies.update(full)  # type: ignore[arg-type]
    asker.ask("www.example.com")
    assert len(asker.responder._cache.replies) == module.MAX_CACHED_REPLIES
    assert cache_key(query(use_edns=False)) in asker.responder._cache.replies


def test_a_label_that_imitates_the_rest_of_a_packet_does_not_share_a_reply() -> None:
    """Behind its first zero octet the label reads like type, class and OPT, and so has a key.

    Two names that differ in the "size" of that OPT have the same key; only one of them exists.
    """
    opt_length = len(b"\7example\3com\0" + b"\0\1\0\1" + OPT)
    names = [f"a\0wxyz\0\0){size}\0\0\0\0\0{chr(opt_length)}.example.com" for size in ("AA", "BB")]
    existing, missing = (
        HEADER.pack(1, 0, 1, 0, 0, 1) + wire_name(name) + b"\0\1\0\1" + OPT for name in names
    )
    assert cache_key(existing) == cache_key(missing) is not None
    asker = Asker(zone_table(site("example.com"), names=[names[0].lower()]), FixedVerdicts(PROXY4))
    for packet, rcode in ((existing, dns.rcode.NOERROR), (missing, dns.rcode.NXDOMAIN)):
        response = asker.responder.respond(packet, datagram=True)
        assert response is not None
        assert dns.message.from_wire(response).rcode() == rcode


NAMES = st.lists(st.binary(min_size=1, max_size=8), max_size=4).map(
    lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
)
TAILS = st.one_of(st.just(b""), st.just(OPT), st.binary(max_size=20))


@given(
    name=st.one_of(st.sampled_from([NAME, NAME.upper(), b"\x03a\0b\x07example\x03com\0"]), NAMES),
    numbers=st.binary(min_size=4, max_size=4),
    tail=TAILS,
    counts=st.sampled_from([(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 0)]),
)
def test_what_has_the_same_key_has_the_same_question(
    name: bytes, numbers: bytes, tail: bytes, counts: tuple[int, int, int, int]
) -> None:
    """A packet with a key is answered the same with a full cache and with an empty one."""
    packet = b"\1\2\0\0" + struct.pack("!4H", *counts) + name + numbers + tail
    zones, verdicts = zone_table(site("example.com")), FixedVerdicts(PROXY4)
    warm = Responder(zones, verdicts, clock=Clock())
    for known in (query(use_edns=False), query(use_edns=0), packet):
        for _ in range(3):  # answered, from the cache, from the cache of exact datagrams
            warm.respond(known, datagram=True)
    cold = Responder(zones, verdicts, clock=Clock())
    assert warm.respond(packet, datagram=True) == cold.respond(packet, datagram=True)
    try:
        parsed = parse_query(packet)
    except Malformed:
        return
    assert parsed.question.name == name.lower()
    assert parsed.question.type == int.from_bytes(numbers[:2], "big")


# --- our own failures ----------------------------------------------------------------------------


def test_a_failure_of_ours_is_servfail_for_that_packet_and_reported_sparingly() -> None:
    clock = Clock()
    verdicts = FixedVerdicts(PROXY4)
    verdicts.broken = True
    responder = Responder(zone_table(site("example.com")), verdicts, clock=clock)
    with capturedLogs() as events:
        for _ in range(5):
            response = responder.respond(query(), datagram=True)
            assert response is not None
            assert dns.message.from_wire(response).rcode() == dns.rcode.SERVFAIL
        clock.advance(FAILURE_REPORT_SECONDS)
        responder.respond(query(), datagram=True)
    counts = [event["count"] for event in events if "SERVFAIL" in str(event.get("log_format"))]
    assert counts == [1, 5]
    soa = responder.respond(query("example.com", "SOA"), datagram=True)
    assert soa is not None
    assert dns.message.from_wire(soa).rcode() == dns.rcode.NOERROR
