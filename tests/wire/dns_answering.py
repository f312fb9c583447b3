"""A DNS server inside the test: each question goes to a function that says what is sent back."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from tests.servers.ports import free_port

# Gives the packets to send back for one question, in order.
Script = Callable[[dns.message.Message], Iterable[bytes]]


def answer(
    query: dns.message.Message, *records: str, rcode: int = 0, flags: int = dns.flags.AA
) -> bytes:
    """Return a response with ``records`` ("www 60 A 192.0.2.1", relative to the question)."""
    response = dns.message.make_response(query)
    response.flags |= flags
    response.set_rcode(dns.rcode.Rcode(rcode))
    for record in records:
        owner, ttl, type_, rest = record.split(" ", 3)
        name = dns.name.from_text(owner, query.question[0].name)
        response.answer.append(dns.rrset.from_text(name, int(ttl), "IN", type_, rest))
    return response.to_wire(max_size=65_535)


class _Datagrams(DatagramProtocol):
    noisy = False

    def __init__(self, server: AnsweringServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        query = dns.message.from_wire(datagram)
        self._server.asked.append((query, addr))
        for packet in self._server.by_udp(query):
            self.transport.write(packet, addr)


class _Stream(Protocol):
    def __init__(self, server: AnsweringServer) -> None:
        self._server = server
        self._received = b""

    def connectionMade(self) -> None:
        self._server.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._received += data
        while len(self._received) >= 2:
            (length,) = struct.unpack_from("!H", self._received)
            query, self._received = self._received[2 : 2 + length], self._received[2 + length :]
            for packet in self._server.by_tcp(dns.message.from_wire(query)):
                if packet:
                    self.transport.write(struct.pack("!H", len(packet)) + packet)
                else:
                    self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        self._server.connections.remove(self)


class AnsweringServer:
    """
    :ivar by_udp, by_tcp: what is sent back; by TCP, an empty packet closes the connection.
    :ivar asked: the questions that came by UDP, with the asker's address.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.by_udp: Script = lambda query: [answer(query)]
        self.by_tcp: Script = lambda query: [answer(query)]
        self.asked: list[tuple[dns.message.Message, Any]] = []
        self.connections: list[_Stream] = []
        self.port = 0
        self._ports: list[Any] = []

    def start(self) -> None:
        """Listen on a port of UDP, and on the same of TCP."""
        net: Any = reactor
        # One that is free for both, which the kernel's choice for the first need not be.
        self.port = free_port()
        datagrams = net.listenUDP(self.port, _Datagrams(self), interface=self.address)
        factory = Factory()
        factory.noisy = False
        factory.buildProtocol = lambda _: _Stream(self)  # type: ignore[method-assign,assignment]
        self._ports = [datagrams, net.listenTCP(self.port, factory, interface=self.address)]

    async def stop(self) -> None:
        """Close everything."""
        for stream in list(self.connections):
            assert stream.transport is not None
            stream.transport.abortConnection()  # type: ignore[attr-defined]
        for port in self._ports:
            await maybeDeferred(port.stopListening)
