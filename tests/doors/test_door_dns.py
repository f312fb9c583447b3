"""The door of DNS packets: whatever comes in, the server stays correct and answers the next one."""

from __future__ import annotations

from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs

from tests.unit.nameserver.fakes import (
    PROXY4,
    FixedVerdicts,
    connect,
    rdatas,
    site,
    zone_table,
)
from watchducks.nameserver.listener import QuestionStreams
from watchducks.nameserver.responder import Responder

SERVER = Responder(zone_table(site("example.com")), FixedVerdicts(PROXY4), clock=Clock())
GOOD = dns.message.make_query("www.example.com", "A", use_edns=0)

LABELS = st.one_of(
    st.sampled_from([b"www", b"example", b"com", b"EXAMPLE", b"ns1", b"watchducks"]),
    st.binary(min_size=1, max_size=63),
)
WIRE_NAMES = st.one_of(
    st.sampled_from([b"\3www\7example\3com\0", b"\7example\3com\0", b"\7EXAMPLE\3cOm\0", b"\0"]),
    st.lists(LABELS, max_size=6).map(
        lambda labels: b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    ),
    st.binary(max_size=8),
)
SMALL = st.integers(0, 3)
RECORDS = st.one_of(
    st.builds(
        lambda size, flags, data: (
            b"\0\0\x29" + size.to_bytes(2, "big") + flags + len(data).to_bytes(2, "big") + data
        ),
        st.integers(0, 65535),
        st.one_of(st.just(bytes(4)), st.binary(min_size=4, max_size=4)),
        st.binary(max_size=12),
    ),
    st.binary(max_size=24),
)


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Draw packets that look like queries to varying degrees, so that every branch is reached."""
    header = draw(st.binary(min_size=2, max_size=2))
    header += draw(
        st.one_of(
            st.sampled_from([bytes(2), b"\1\0", b"\1\x20"]), st.binary(min_size=2, max_size=2)
        )
    )
    questions = draw(st.lists(st.tuples(WIRE_NAMES, TYPES, CLASSES), min_size=1, max_size=2))
    records = draw(st.lists(RECORDS, max_size=2))
    true_counts = (len(questions), 0, 0, len(records))
    counts = draw(st.one_of(st.just(true_counts), st.tuples(SMALL, SMALL, SMALL, SMALL)))
    body = b"".join(name + type_ + cls for name, type_, cls in questions) + b"".join(records)
    whole = header + b"".join(count.to_bytes(2, "big") for count in counts) + body
    return whole[: draw(st.one_of(st.just(len(whole)), st.integers(0, len(whole))))]


TYPES = st.one_of(
    st.sampled_from([number.to_bytes(2, "big") for number in (1, 2, 6, 28, 41, 251, 252, 255)]),
    st.binary(min_size=2, max_size=2),
)
CLASSES = st.one_of(st.just(b"\0\1"), st.binary(min_size=2, max_size=2))
ANYTHING = st.one_of(packets(), st.binary(max_size=600))


@pytest.fixture(autouse=True)
def _nothing_is_logged() -> Iterator[None]:
    """No packet may make us fail inside: a failure is SERVFAIL and a log entry."""
    with capturedLogs() as events:
        yield
    serious = (LogLevel.error, LogLevel.critical)
    assert [event for event in events if event.get("log_level") in serious] == []


def check_response(packet: bytes, response: bytes | None, limit: int) -> None:
    if len(packet) < 12 or packet[2] & 0x80:
        assert response is None
        return
    assert response is not None
    assert len(response) <= limit
    # dnspython stands for every resolver: what it cannot read, nobody should have to.
    message = dns.message.from_wire(response, ignore_trailing=False)
    assert message.id == int.from_bytes(packet[:2], "big")
    assert message.flags & dns.flags.QR
    assert message.flags & dns.flags.RD == packet[2] << 8 & dns.flags.RD
    assert not message.flags & dns.flags.RA
    assert message.rcode() != dns.rcode.SERVFAIL
    if message.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.REFUSED):
        asked = dns.message.from_wire(packet, ignore_trailing=False, question_only=True)
        assert asked.question == message.question
        name = asked.question[0].name.to_wire()
        assert name is not None
        end = 12 + len(name) + 4
        assert response[12:end] == packet[12:end]
    if message.rcode() == dns.rcode.NXDOMAIN:
        assert message.authority


def check_good() -> None:
    response = SERVER.respond(GOOD.to_wire(), datagram=True)
    assert response is not None
    message = dns.message.from_wire(response)
    assert GOOD.is_response(message)
    assert rdatas(message.answer) == [f"www.example.com. 30 IN A {PROXY4}"]


@given(ANYTHING)
def test_any_datagram_is_answered_properly_and_so_is_the_next(packet: bytes) -> None:
    for _ in range(2):  # once more, perhaps from the cache
        check_response(packet, SERVER.respond(packet, datagram=True), 1232)
        check_good()


@given(st.lists(packets(), max_size=4), st.data())
def test_any_stream_is_answered_message_by_message_however_it_is_cut(
    messages: list[bytes], data: st.DataObject
) -> None:
    clock = Clock()
    streams = QuestionStreams(SERVER, clock=clock)
    stream = streams.buildProtocol(None)
    assert stream is not None
    transport = StringTransport()
    connect(stream, transport)
    octets = b"".join(len(message).to_bytes(2, "big") + message for message in messages)
    while octets:
        cut = data.draw(st.integers(1, len(octets)))
        stream.dataReceived(octets[:cut])
        octets = octets[cut:]
        if transport.disconnected:
            break
    received = transport.value()
    for message in messages:
        expected = SERVER.respond(message, datagram=False)
        if expected is None:  # the connection ends here
            assert transport.disconnected
            break
        check_response(message, expected, 65535)
        frame = len(expected).to_bytes(2, "big") + expected
        assert received.startswith(frame)
        received = received[len(frame) :]
    assert received == b""


@given(st.binary(max_size=200))
def test_any_octets_on_a_stream_end_it_or_are_answered(octets: bytes) -> None:
    streams = QuestionStreams(SERVER, clock=Clock())
    stream = streams.buildProtocol(None)
    assert stream is not None
    connect(stream, StringTransport())
    stream.dataReceived(octets)
    check_good()


@given(packets())
def test_a_good_question_reads_as_dnspython_reads_it(packet: bytes) -> None:
    """What we answer with NOERROR or NXDOMAIN, dnspython finds well-formed as well."""
    response = SERVER.respond(packet, datagram=True)
    if response is None or response[3] & 0xF not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return
    try:
        dns.message.from_wire(packet, question_only=True)
    except dns.exception.DNSException as error:
        raise AssertionError(f"{packet.hex()} was answered") from error
