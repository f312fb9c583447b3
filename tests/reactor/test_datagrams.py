"""UDP ports: as on the stock reactor, but for how much one event may read."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.protocol import ConnectedDatagramProtocol, DatagramProtocol

from tests.reactor.turning import Turning
from watchducks.reactor.datagrams import MAX_DATAGRAMS


class Heard(DatagramProtocol):
    """Remembers what it heard."""

    transport: Any

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Any]] = []
        self.on_datagram: Callable[[bytes, Any], object] | None = None
        self.stopped = False

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.datagrams.append((datagram, addr))
        if self.on_datagram is not None:
            self.on_datagram(datagram, addr)

    def stopProtocol(self) -> None:
        self.stopped = True


def listen(turning: Turning, interface: str = "127.0.0.1") -> tuple[Heard, int]:
    protocol = Heard()
    port = turning.reactor.listenUDP(0, protocol, interface=interface)
    return protocol, port.getHost().port


@pytest.fixture
def peer() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(5)
        yield peer


def test_an_answer_to_whoever_asked(either: Turning, peer: socket.socket) -> None:
    protocol, port = listen(either)
    protocol.on_datagram = lambda data, address: protocol.transport.write(data.upper(), address)
    peer.sendto(b"quack", ("127.0.0.1", port))
    either.until(lambda: protocol.datagrams)
    assert peer.recv(100) == b"QUACK"
    assert protocol.datagrams == [(b"quack", peer.getsockname())]


def test_ipv6_addresses_are_host_and_port(either: Turning) -> None:
    protocol, port = listen(either, "::1")
    protocol.on_datagram = protocol.transport.write
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(5)
        peer.sendto(b"six", ("::1", port))
        either.until(lambda: protocol.datagrams)
        assert protocol.datagrams == [(b"six", peer.getsockname()[:2])]
        assert peer.recv(100) == b"six"


def test_one_event_reads_a_bounded_batch(ours: Turning, peer: socket.socket) -> None:
    protocol, port = listen(ours)
    for number in range(MAX_DATAGRAMS + 10):
        peer.sendto(b"%d" % number, ("127.0.0.1", port))
    ours.turn()
    assert len(protocol.datagrams) == MAX_DATAGRAMS
    ours.until(lambda: len(protocol.datagrams) == MAX_DATAGRAMS + 10)
    assert [int(data) for data, _ in protocol.datagrams] == list(range(MAX_DATAGRAMS + 10))


def test_an_error_in_a_protocol_is_one_datagrams(either: Turning, peer: socket.socket) -> None:
    protocol, port = listen(either)

    def fail(data: bytes, _address: object) -> None:
        if data == b"bad":
            raise ZeroDivisionError

    protocol.on_datagram = fail
    for data in (b"good", b"bad", b"good"):
        peer.sendto(data, ("127.0.0.1", port))
    either.until(lambda: len(protocol.datagrams) == 3)
    assert [error.type for error in either.errors] == [ZeroDivisionError]
    assert not protocol.stopped


def test_stopping_in_the_middle_of_a_batch(ours: Turning, peer: socket.socket) -> None:
    protocol, port = listen(ours)
    protocol.on_datagram = lambda *_: protocol.transport.stopListening()
    for _ in range(3):
        peer.sendto(b"x", ("127.0.0.1", port))
    ours.until(lambda: protocol.stopped)
    assert len(protocol.datagrams) == 1
    assert not ours.errors


def test_wrong_addresses_and_lengths_are_refused(either: Turning, peer: socket.socket) -> None:
    protocol, port = listen(either)
    peer.sendto(b"x", ("127.0.0.1", port))
    either.until(lambda: protocol.datagrams)
    heard = protocol.datagrams[0][1]
    with pytest.raises(MessageLengthError):
        protocol.transport.write(b"x" * 70_000, heard)
    with pytest.raises(InvalidAddressError):
        protocol.transport.write(b"x", ("www.example.com", 53))


def test_a_connected_port_hears_that_nobody_listens(either: Turning, peer: socket.socket) -> None:
    class Connected(ConnectedDatagramProtocol):
        transport: Any
        refused = 0

        def connectionRefused(self) -> None:
            self.refused += 1

    protocol = Connected()
    port = either.reactor.listenUDP(0, protocol, interface="127.0.0.1").getHost().port
    protocol.transport.connect(*peer.getsockname())
    # With a datagram to read as well: the stock code takes an error alone for the port's end.
    peer.sendto(b"goodbye", ("127.0.0.1", port))
    peer.close()
    protocol.transport.write(b"anybody?")
    either.until(lambda: protocol.refused)
    assert not either.errors


def test_an_adopted_port(either: Turning, peer: socket.socket) -> None:
    protocol = Heard()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("127.0.0.1", 0))
        mine.setblocking(False)
        either.reactor.adoptDatagramPort(mine.fileno(), socket.AF_INET, protocol)
        peer.sendto(b"adopted", mine.getsockname())
        either.until(lambda: protocol.datagrams)
