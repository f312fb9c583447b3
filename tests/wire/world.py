"""A proxy on transports and a clock in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import Logger

from tests.wire.proxying import HOST, FakeRoutes, Rows, route_to
from watchducks.background import Tasks
from watchducks.proxy.context import ProxyContext, RequestIds
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.http1 import VisitorConnection
from watchducks.proxy.limits import Limits
from watchducks.proxy.peers import Peer
from watchducks.proxy.pool import OriginPools

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Transport(StringTransport):
    """:ivar pause_above: with more than so many bytes unsent, the producer is paused.
    :ivar half_closed: nothing more will be written.
    """

    producer: Any
    pause_above: int | None = None
    half_closed = False

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

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    @property
    def reading(self) -> bool:
        return bool(self.producerState == "producing")


class World:
    """A proxy without sockets, one visitor and, once asked for, one origin connection."""

    def __init__(self, limits: Limits | None = None, peer: Peer | None = None) -> None:
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
            wall=lambda: 1_700_000_000.25 + self.reactor.seconds(),
            deadlines=deadlines,
            limits=self.limits,
            tasks=Tasks(Logger()),
            new_request_id=RequestIds(),
            node="edge",
            version="0",
        )
        self.transport: Any = Transport()
        self.visitor = VisitorConnection(self.context, "http", peer=peer)
        self.visitor.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        self.origins: list[tuple[Any, Any]] = []

    def connect_origin(self) -> tuple[Any, Any]:
        """Let the connection to the origin come about."""
        factory = self.reactor.tcpClients[-1][2]
        protocol = factory.buildProtocol(None)
        transport = Transport()
        protocol.makeConnection(transport)
        self.origins.append((protocol, transport))
        return protocol, transport

    def receive(self, data: bytes) -> None:
        """Let the visitor send ``data``, and a wanted connection to the origin come about at once.

        As a transport does, nothing is delivered after the visitor has been cut off.
        """
        if self.transport.disconnected:
            return
        self.visitor.dataReceived(data)
        while len(self.reactor.tcpClients) > len(self.origins):
            self.connect_origin()

    def sent_to_origins(self) -> bytes:
        """Return all that all origins have got."""
        return b"".join(transport.value() for _, transport in self.origins)

    def turn(self, seconds: float) -> None:
        self.reactor.pump([0.25] * int(seconds * 4))
