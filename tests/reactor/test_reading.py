"""Reading, the errors of protocols, and every way to get a connection."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, Factory
from twisted.python import log

from tests.reactor.turning import Recorder, Turning


def test_pausing_and_resuming(either: Turning) -> None:
    protocol, peer = either.connect()
    protocol.transport.pauseProducing()
    peer.send(b"wait")
    for _ in range(3):
        either.turn()
    assert protocol.data == b""
    protocol.transport.resumeProducing()
    either.until(lambda: protocol.data == b"wait")


def test_an_error_in_a_protocol_closes_its_connection_only(either: Turning) -> None:
    bad, bad_peer = either.connect()
    good, good_peer = either.connect()

    def fail(_data: bytes) -> None:
        bad.transport.write(b"unsent")
        raise ZeroDivisionError

    bad.on_data = fail
    good.on_data = good.transport.write
    bad_peer.send(b"boom")
    good_peer.send(b"ping")
    assert either.receive(good_peer, 4) == b"ping"
    either.until(lambda: bad.lost)
    assert [reason.type for reason in bad.lost] == [ZeroDivisionError]
    assert [error.type for error in either.errors] == [ZeroDivisionError]
    assert not good.lost


def test_a_protocol_may_hand_its_connection_over(either: Turning) -> None:
    first, peer = either.connect()
    second = Recorder()

    def hand_over(data: bytes) -> None:
        first.transport.protocol = second
        second.makeConnection(first.transport)  # type: ignore[no-untyped-call]
        second.dataReceived(data)

    first.on_data = hand_over
    peer.send(b"one ")
    either.until(lambda: second.data == b"one ")
    peer.send(b"two")
    either.until(lambda: second.data == b"one two")
    assert first.data == b"one "


def test_a_protocol_may_close_another_in_the_same_batch(either: Turning) -> None:
    connections = [either.connect() for _ in range(2)]
    (one, _), (other, _) = connections
    one.on_data = lambda _data: other.transport.abortConnection()
    other.on_data = lambda _data: one.transport.abortConnection()
    for _, peer in connections:
        peer.send(b"x")
    either.until(lambda: one.lost or other.lost)
    for _ in range(3):
        either.turn()
    assert sorted([len(one.lost), len(other.lost)]) == [0, 1]
    assert not either.errors


def test_log_lines_have_the_prefix_of_their_connection() -> None:
    """As on the stock reactor; there only while it runs, because the context is the run's."""
    from watchducks.reactor import FastEPollReactor

    turning = Turning(FastEPollReactor())
    reactor = turning.reactor
    protocol, peer = turning.connect()

    def received(data: bytes) -> None:
        log.msg("inside")
        reactor.callLater(0, after)

    def after() -> None:
        log.msg("outside")
        reactor.stop()

    protocol.on_data = received
    peer.send(b"x")
    reactor.run(installSignalHandlers=False)
    turning.close()
    assert turning.prefixes["inside"] == protocol.transport.logPrefix()
    assert turning.prefixes["inside"].startswith("Recorder,")
    assert turning.prefixes["outside"] == "-"


# --- other ways to get a connection ---


def test_a_client(either: Turning) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        protocol = Recorder()

        class Connecting(ClientFactory):
            noisy = False

            def buildProtocol(self, _address: object) -> Recorder:
                return protocol

        either.reactor.connectTCP("127.0.0.1", listening.getsockname()[1], Connecting())
        either.until(lambda: protocol.made)
        peer, _ = listening.accept()
        with peer:
            protocol.transport.write(b"hello")
            assert either.receive(peer, 5) == b"hello"
            peer.send(b"there")
            either.until(lambda: protocol.data == b"there")
            peer.close()
            either.until(lambda: protocol.lost)
            assert [reason.type for reason in protocol.lost] == [ConnectionDone]


def test_a_client_that_is_connecting_is_left_to_the_stock_code(ours: Turning) -> None:
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # room for one, which is taken
        first.connect(full.getsockname())
        factory = ClientFactory()
        factory.noisy = False
        connector = ours.reactor.connectTCP(*full.getsockname(), factory)
        ours.turn()
        assert connector.transport in ours.reactor.getReaders()
        assert connector.transport.fileno() not in ours.reactor._short_cuts
        connector.stopConnecting()


def test_a_client_that_nobody_hears(either: Turning) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    failed: list[Any] = []

    class Connecting(ClientFactory):
        noisy = False

        def clientConnectionFailed(self, connector: object, reason: Any) -> None:
            failed.append(reason)

    either.reactor.connectTCP("127.0.0.1", port, Connecting())
    either.until(lambda: failed)
    assert "refused" in failed[0].getErrorMessage()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_an_adopted_connection(either: Turning, family: socket.AddressFamily) -> None:
    if family == socket.AF_UNIX:
        mine, peer = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            peer = socket.create_connection(listening.getsockname())
            mine, _ = listening.accept()
    protocol = Recorder()
    mine.setblocking(False)
    with peer, mine:
        factory = Factory.forProtocol(lambda: protocol)
        either.reactor.adoptStreamConnection(mine.fileno(), family, factory)
        protocol.transport.write(b"adopted")
        assert either.receive(peer, 7) == b"adopted"
        peer.send(b"fine")
        either.until(lambda: protocol.data == b"fine")


def test_an_adopted_port(either: Turning) -> None:
    protocol = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        port = either.reactor.adoptStreamPort(
            listening.fileno(), socket.AF_INET, Factory.forProtocol(lambda: protocol)
        )
        with socket.create_connection(listening.getsockname()) as peer:
            either.until(lambda: protocol.made)
            protocol.transport.write(b"adopted")
            assert either.receive(peer, 7) == b"adopted"
            protocol.transport.abortConnection()
        port.stopListening()
        either.turn()
