"""Every way in which a connection ends: once, with its reason, and with what was written before."""

from __future__ import annotations

import gc
import socket
import struct
import weakref

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from tests.reactor.turning import Producer, Recorder, Turning


def reset(peer: socket.socket) -> None:
    """Close ``peer`` so that the other side sees a reset."""
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def test_bytes_written_after_lose_connection_are_sent(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"before ")
    protocol.transport.loseConnection()
    protocol.transport.write(b"after")
    assert either.receive(peer, 100) == b"before after"
    assert [reason.type for reason in protocol.lost] == [ConnectionDone]


def test_lose_connection_closes_in_spite_of_a_push_producer(either: Turning) -> None:
    protocol, peer = either.connect()
    producer = Producer()
    protocol.transport.registerProducer(producer, True)
    protocol.transport.write(b"all of it")
    protocol.transport.loseConnection()
    assert either.receive(peer, 100) == b"all of it"
    assert producer.told == ["stop"]
    assert len(protocol.lost) == 1


def test_lose_connection_waits_for_a_pull_producer(either: Turning) -> None:
    protocol, peer = either.connect()
    pieces = [b"three", b"two ", b"one "]

    def resumed() -> None:
        if pieces:
            protocol.transport.write(pieces.pop())
        else:
            protocol.transport.unregisterProducer()

    protocol.transport.write(b"zero ")
    protocol.transport.registerProducer(Producer(resumed), False)
    protocol.transport.loseConnection()
    assert either.receive(peer, 100) == b"zero one two three"
    assert [reason.type for reason in protocol.lost] == [ConnectionDone]


def test_a_pull_producer_is_asked_again_after_a_write_before_it(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"collected")
    producer = Producer()
    protocol.transport.registerProducer(producer, False)
    assert either.receive(peer, 9) == b"collected"
    either.until(lambda: producer.told == ["resume", "resume"])


def test_an_abort_drops_what_was_collected(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"never")
    protocol.transport.abortConnection()
    for _ in range(100):
        protocol.transport.write(b"never")
    assert not protocol.lost
    either.until(lambda: protocol.lost)
    assert [reason.type for reason in protocol.lost] == [ConnectionAborted]
    peer.setblocking(True)
    with pytest.raises(ConnectionResetError):
        peer.recv(100)


def test_an_abort_in_the_middle_of_a_batch_drops_what_was_collected(either: Turning) -> None:
    protocol, peer = either.connect()

    def leave(_data: bytes) -> None:
        protocol.transport.write(b"never")
        protocol.transport.abortConnection()
        protocol.transport.write(b"never")

    protocol.on_data = leave
    peer.send(b"x")
    either.until(lambda: protocol.lost)
    peer.setblocking(True)
    with pytest.raises(ConnectionResetError):
        peer.recv(100)


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_broken_connection_is_lost_once_and_not_from_inside_a_write(
    either: Turning, size: int
) -> None:
    protocol, peer = either.connect()
    reset(peer)
    protocol.inside = True
    for _ in range(100):
        protocol.transport.write(b"x" * size)
    protocol.inside = False
    assert not protocol.lost
    either.until(lambda: protocol.lost)
    either.turn()
    assert [reason.type for reason in protocol.lost] == [ConnectionLost]
    assert not protocol.lost_inside


def test_an_answer_that_came_before_the_reset_is_delivered(either: Turning) -> None:
    protocol, peer = either.connect()
    peer.sendall(b"no, thank you")
    reset(peer)
    protocol.transport.write(b"x" * 1000)
    either.until(lambda: protocol.lost)
    assert protocol.data == b"no, thank you"


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """Notes which half was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        self.halves.append("write")


def test_half_closing_ours(either: Turning) -> None:
    protocol = HalfCloseable()
    _, peer = either.connect(protocol)
    protocol.transport.write(b"all I say")
    protocol.transport.loseWriteConnection()
    assert either.receive(peer, 100) == b"all I say"
    assert protocol.halves == ["write"]
    protocol.transport.write(b"more")
    peer.send(b"but I still listen")
    either.until(lambda: protocol.data == b"but I still listen")
    assert peer.recv(100) == b""
    assert not protocol.lost


def test_half_closing_the_peers(either: Turning) -> None:
    protocol = HalfCloseable()
    _, peer = either.connect(protocol)
    peer.send(b"all I say")
    peer.shutdown(socket.SHUT_WR)
    either.until(lambda: protocol.halves == ["read"])
    protocol.transport.write(b"heard")
    assert either.receive(peer, 5) == b"heard"
    assert not protocol.lost
    protocol.transport.loseConnection()
    either.until(lambda: protocol.lost)
    assert [reason.type for reason in protocol.lost] == [ConnectionDone]


def test_a_half_closed_connection_that_nobody_holds_is_freed(either: Turning) -> None:
    protocol: HalfCloseable | None = HalfCloseable()
    assert protocol is not None
    peer = either.connect(protocol)[1]
    peer.shutdown(socket.SHUT_WR)
    while protocol.halves != ["read"]:
        either.turn()
    protocol.transport.write(b"bye")
    assert either.receive(peer, 3) == b"bye"
    transport = weakref.ref(protocol.transport)
    protocol = None
    gc.collect()
    assert transport() is None


def test_disconnect_all_finds_a_connection_that_only_collected(either: Turning) -> None:
    protocol, _peer = either.connect()
    protocol.transport.pauseProducing()
    protocol.transport.write(b"unsent")
    either.reactor.disconnectAll()
    assert [reason.type for reason in protocol.lost] == [ConnectionLost]


def test_a_connection_that_collected_is_a_writer(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.write(b"one ")
    assert protocol.transport in either.reactor.getWriters()
    protocol.transport.write(b"two")
    assert either.receive(peer, 7) == b"one two"
    assert protocol.transport not in either.reactor.getWriters()
