"""The proxy's protocols on transports and a clock in memory: what sockets do too rarely to test."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from tests.wire.proxying import HOST, FakeRoutes, Rows, route_to
from watchducks.background import Tasks
from watchducks.proxy.context import ProxyContext, RequestIds
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.http1 import VisitorConnection
from watchducks.proxy.limits import Limits
from watchducks.proxy.pool import OriginPools

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Transport(StringTransport):
    """:ivar pause_above: with more than so many bytes unsent, the producer is paused."""

    producer: Any
    pause_above: int | None = None

    def __init__(self) -> None:
        peer = IPv4Address("TCP", "192.0.2.9", 4711)
        super().__init__(peerAddress=peer)  # type: ignore[no-untyped-call]

    def write(self, data: bytes) -> None:
        super().write(data)  # type: ignore[no-untyped-call]
        if self.pause_above is not None and self.io.tell() > self.pause_above:
            self.producer.pauseProducing()

    def drain(self) -> bytes:
        """Take what was written, as a socket would, and tell the producer."""
        data = self.io.getvalue()
        self.io.seek(0)
        self.io.truncate()
        self.producer.resumeProducing()
        return data

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed here."""

    @property
    def reading(self) -> bool:
        return bool(self.producerState == "producing")


class World:
    """A proxy without sockets, one visitor and, once asked for, one origin connection."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.limits = limits or Limits()
        deadlines = Deadlines(self.reactor)
        deadlines.start()
        routes = FakeRoutes()
        routes.routes[HOST] = route_to(8080)
        self.rows = Rows()
        self.context = ProxyContext(
            routes=routes,
            pools=OriginPools(reactor=self.reactor, deadlines=deadlines, limits=self.limits),
            sink=self.rows,
            clock=self.reactor,
            wall=lambda: 1_700_000_000.25,
            deadlines=deadlines,
            limits=self.limits,
            tasks=Tasks(Logger()),
            new_request_id=RequestIds(),
            node="edge",
            version="0",
        )
        self.transport: Any = Transport()
        self.visitor = VisitorConnection(self.context, "http")
        self.visitor.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def connect_origin(self) -> tuple[Any, Any]:
        """Let the connection to the origin come about."""
        factory = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        return protocol, transport

    def turn(self, seconds: float) -> None:
        self.reactor.pump([0.25] * int(seconds * 4))


def test_a_pause_with_the_last_bytes_of_a_body_does_not_stop_the_connection() -> None:
    world = World()
    post = b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 4\r\n\r\n"
    world.visitor.dataReceived(post)
    origin, transport = world.connect_origin()
    transport.pause_above = len(transport.value())
    world.visitor.dataReceived(b"body")  # the origin's buffer is full with just these
    assert transport.drain().endswith(b"body")
    transport.pause_above = None
    assert world.transport.reading
    origin.dataReceived(OK)
    world.visitor.dataReceived(GET)
    assert transport.value().startswith(b"GET / ")
    origin.dataReceived(OK)
    assert world.transport.value().count(b"hello") == 2
    assert [row.request_bytes for row in world.rows] == [4, 0]


def test_a_full_origin_stops_the_visitor_and_an_emptied_one_lets_him_go_on() -> None:
    world = World()
    world.visitor.dataReceived(
        b"POST / HTTP/1.1\r\nHost: www.example.com\r\nContent-Length: 100\r\n\r\n" + b"a" * 10
    )
    assert not world.transport.reading  # nobody to send it to yet
    origin, transport = world.connect_origin()
    assert world.transport.reading
    transport.pause_above = 0
    world.visitor.dataReceived(b"b" * 40)
    assert not world.transport.reading
    transport.drain()
    assert world.transport.reading
    transport.pause_above = None
    world.visitor.dataReceived(b"c" * 50)
    origin.dataReceived(OK)
    assert world.rows[0].request_bytes == 100


def test_a_full_visitor_stops_the_origin_and_time_then_counts_for_the_visitor() -> None:
    world = World(Limits(answer_idle_seconds=5, visitor_stalled_seconds=20))
    world.visitor.dataReceived(GET)
    origin, transport = world.connect_origin()
    world.transport.pause_above = 0
    origin.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
    assert not transport.reading
    world.turn(15)  # longer than an origin may be silent
    assert not world.rows
    world.transport.drain()
    assert transport.reading
    world.transport.pause_above = 0
    origin.dataReceived(b"wor")
    world.turn(25)
    assert world.rows[0].reason == "visitor-stalled"
    assert world.transport.disconnected


def test_what_is_sent_ahead_waits_and_is_not_read() -> None:
    world = World()
    world.visitor.dataReceived(GET + GET)
    assert not world.transport.reading
    origin, transport = world.connect_origin()
    assert transport.value().count(b"GET / ") == 1
    transport.clear()
    origin.dataReceived(OK)
    assert transport.value().count(b"GET / ") == 1
    assert world.transport.reading


def test_times_are_of_the_clock_that_was_given() -> None:
    world = World()
    world.visitor.dataReceived(GET[:10])
    world.turn(1)
    world.visitor.dataReceived(GET[10:])
    world.turn(0.5)
    origin, _ = world.connect_origin()
    world.turn(2)
    origin.dataReceived(OK[:-1])
    world.turn(0.25)
    origin.dataReceived(OK[-1:])
    (row,) = world.rows
    assert row.time_us == 1_700_000_000_250_000
    assert (row.duration_us, row.origin_us) == (3_750_000, 2_000_000)
    assert row.client == "192.0.2.9"


def test_a_connect_that_takes_too_long_is_504() -> None:
    from twisted.internet.error import TimeoutError as ConnectTimeout

    world = World()
    world.visitor.dataReceived(GET)
    _host, _port, factory, timeout, _bind = world.reactor.tcpClients[0]
    assert timeout == world.limits.connect_seconds
    factory.clientConnectionFailed(None, Failure(ConnectTimeout()))
    assert world.transport.value().startswith(b"HTTP/1.1 504 ")
    assert world.rows[0].reason == "connect-timeout"
    assert len(world.context.pools) == 0


def test_a_first_byte_that_does_not_come_is_504_and_one_that_does_is_waited_for() -> None:
    world = World(Limits(first_byte_seconds=60))
    world.visitor.dataReceived(GET)
    _origin, transport = world.connect_origin()
    world.turn(59)
    assert not world.rows
    world.turn(2)
    assert world.rows[0].reason == "first-byte-timeout"
    assert transport.disconnected
