"""Questions over TCP, on a transport and a clock made for tests: framing, limits, back-pressure."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from tests.unit.nameserver.fakes import PROXY4, FixedVerdicts, connect, site, zone_table
from watchducks.nameserver import datagrams, listener
from watchducks.nameserver.listener import QuestionStream, QuestionStreams, client_key
from watchducks.nameserver.responder import Responder

CLIENT = IPv4Address("TCP", "192.0.2.1", 40000)


class SmallBuffer(StringTransport):
    """Asks its producer to pause once there is something to send, as a real one with 64 KiB."""

    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        assert self.producer is not None
        self.producer.pauseProducing()


def framed(name: str = "www.example.com", type_: str = "A", *, id_: int = 1) -> bytes:
    wire = dns.message.make_query(name, type_, id=id_).to_wire()
    return len(wire).to_bytes(2, "big") + wire


def responses(data: bytes) -> list[dns.message.Message]:
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        assert len(data) >= 2 + length
        found.append(dns.message.from_wire(data[2 : 2 + length]))
        data = data[2 + length :]
    return found


class Server:
    def __init__(self) -> None:
        self.clock = Clock()
        responder = Responder(
            zone_table(site("example.com")), FixedVerdicts(PROXY4), clock=self.clock
        )
        self.streams = QuestionStreams(responder, clock=self.clock)
        self.made: list[QuestionStream] = []

    def connect(
        self, transport: StringTransport, client: IPv4Address | IPv6Address = CLIENT
    ) -> QuestionStream | None:
        stream = self.streams.buildProtocol(client)
        if stream is not None:
            self.made.append(stream)
            connect(stream, transport)
        return stream


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    for stream in server.made:
        stream.connectionLost(Failure(ConnectionDone()))
    assert server.clock.getDelayedCalls() == []
    assert not server.streams._clients


def connected(
    server: Server, transport: StringTransport | None = None
) -> tuple[QuestionStream, StringTransport]:
    transport = transport or StringTransport()
    stream = server.connect(transport)
    assert stream is not None
    return stream, transport


def test_questions_in_one_piece_are_answered_in_their_order(server: Server) -> None:
    stream, transport = connected(server)
    stream.dataReceived(b"".join(framed(id_=number) for number in (7, 8, 9)))
    assert [message.id for message in responses(transport.value())] == [7, 8, 9]


def test_questions_are_answered_when_they_come_byte_by_byte(server: Server) -> None:
    stream, transport = connected(server)
    data = framed(id_=7) + framed("example.com", "MX", id_=8)
    for index in range(len(data)):
        stream.dataReceived(data[index : index + 1])
        whole = (index + 1 >= len(framed(id_=7))) + (index + 1 == len(data))
        assert len(responses(transport.value())) == whole


def test_a_malformed_question_is_answered_and_the_next_one_too(server: Server) -> None:
    stream, transport = connected(server)
    stream.dataReceived(b"\0\x0c" + bytes(12) + framed(id_=8))
    assert [message.rcode() for message in responses(transport.value())] == [
        dns.rcode.FORMERR,
        dns.rcode.NOERROR,
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0\0", id="nothing"),
        pytest.param(b"\0\x0b" + bytes(11), id="less than a header"),
        pytest.param(b"\0\x0c\0\1\x80" + bytes(9), id="a response"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="another protocol"),
        pytest.param((datagrams.MAX_QUERY_OCTETS + 1).to_bytes(2, "big"), id="too long"),
    ],
)
def test_what_is_not_dns_ends_the_connection(server: Server, data: bytes) -> None:
    stream, transport = connected(server)
    stream.dataReceived(data + framed())
    assert transport.disconnected
    assert transport.value() == b""


def test_a_connection_without_a_whole_question_ends(server: Server) -> None:
    stream, transport = connected(server)
    for byte in framed()[:-1][: int(listener.TCP_IDLE_SECONDS)]:
        server.clock.advance(1)
        stream.dataReceived(bytes((byte,)))
    assert transport.disconnected


def test_each_question_gives_the_connection_its_time_again(server: Server) -> None:
    stream, transport = connected(server)
    for _ in range(3):
        server.clock.advance(listener.TCP_IDLE_SECONDS - 1)
        stream.dataReceived(framed())
    assert not transport.disconnected
    server.clock.advance(listener.TCP_IDLE_SECONDS)
    assert transport.disconnected


def test_a_client_that_does_not_read_is_not_read_from(server: Server) -> None:
    stream, transport = connected(server, SmallBuffer())  # type: ignore[no-untyped-call]
    stream.dataReceived(b"".join(framed(id_=number) for number in (7, 8, 9)))
    assert transport.producerState == "paused"
    for ids in ([7], [7, 8], [7, 8, 9]):
        assert [message.id for message in responses(transport.value())] == ids
        stream.resumeProducing()
    assert transport.producerState == "producing"
    server.clock.advance(listener.TCP_IDLE_SECONDS)
    assert transport.disconnected


def test_a_client_that_closes_its_side_gets_its_answers_first(server: Server) -> None:
    stream, transport = connected(server, SmallBuffer())  # type: ignore[no-untyped-call]
    stream.dataReceived(framed(id_=7) + framed(id_=8))
    stream.readConnectionLost()
    closing = []
    for _ in range(2):
        closing.append(transport.disconnecting)
        stream.resumeProducing()
    assert [*closing, transport.disconnecting] == [False, False, True]
    assert [message.id for message in responses(transport.value())] == [7, 8]
    assert transport.producer is None


def test_connections_are_bounded_for_each_client(server: Server) -> None:
    limit = listener.MAX_TCP_CONNECTIONS_PER_CLIENT
    streams = [server.connect(StringTransport()) for _ in range(limit)]
    assert None not in streams
    assert server.connect(StringTransport()) is None
    other = IPv4Address("TCP", "192.0.2.2", 40000)
    assert server.connect(StringTransport(), other) is not None
    first = streams[0]
    assert first is not None
    first.connectionLost(Failure(ConnectionDone()))
    assert server.connect(StringTransport()) is not None


def test_connections_are_bounded_altogether(server: Server) -> None:
    for number in range(listener.MAX_TCP_CONNECTIONS + 5):
        client = IPv4Address("TCP", f"192.0.{number // 200}.{number % 200}", 40000)
        assert server.connect(StringTransport(), client) is not None
    assert len(server.streams._clients) == len(server.streams._open) == listener.MAX_TCP_CONNECTIONS


def test_the_one_that_has_asked_nothing_for_longest_makes_room(server: Server) -> None:
    transports = [StringTransport() for _ in range(listener.MAX_TCP_CONNECTIONS)]
    for number, transport in enumerate(transports):
        client = IPv4Address("TCP", f"192.0.{number // 200}.{number % 200}", 40000)
        assert server.connect(transport, client) is not None
    server.made[0].dataReceived(framed())
    new = StringTransport()
    stream = server.connect(new, IPv4Address("TCP", "192.0.9.9", 4))
    assert [transport.disconnected for transport in transports[:3]] == [False, True, False]
    assert len(server.streams._open) == listener.MAX_TCP_CONNECTIONS
    assert stream is not None
    stream.dataReceived(framed())
    assert len(responses(new.value())) == 1


@pytest.mark.parametrize(
    ("address", "key"),
    [
        (CLIENT, "192.0.2.1"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8::1", 1), str(0x20010DB800000000)),
        (IPv6Address("TCP", "2001:db8::ffff:1", 1), str(0x20010DB800000000)),
        (IPv6Address("TCP", "fe80::1%eth0", 1), str(0xFE80000000000000)),
        (UNIXAddress("/run/x"), ""),
    ],
)
def test_a_client_is_an_ipv4_address_or_an_ipv6_network(address: object, key: str) -> None:
    assert client_key(address) == key


def test_stopping_lets_answers_be_sent_and_then_ends_what_hangs(server: Server) -> None:
    quick, quick_transport = connected(server)
    hanging, hanging_transport = connected(server)
    ended: list[None] = []
    stopping = Deferred.fromCoroutine(server.streams.close_all())
    _ = stopping.addCallback(ended.append)
    assert quick_transport.disconnecting
    assert hanging_transport.disconnecting
    quick.connectionLost(Failure(ConnectionDone()))
    aborted = [hanging_transport.disconnected]
    server.clock.advance(listener.STOP_SECONDS)
    aborted.append(hanging_transport.disconnected)
    assert aborted == [False, True]
    assert not ended
    hanging.connectionLost(Failure(ConnectionDone()))
    assert len(ended) == 1
