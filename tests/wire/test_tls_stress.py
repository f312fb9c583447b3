"""The TLS transport over sockets against a stock client: random sizes, pauses and aborts."""

from __future__ import annotations

import random
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from tests.wire.proxying import PATIENCE_SECONDS, AnyServer, wait_for
from tests.wire.test_tls_connection import server_context
from tests.wire.world import World
from watchducks.proxy.tls import TlsConnection
from watchducks.proxy.tls_engine import TlsEngine, best_engine


class Echo(Protocol):
    """Sends everything back, and reads no faster than it can send."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """connectionLost follows."""


class Stresser(Protocol):
    """Sends random pieces, pauses now and then, and checks what comes back."""

    transport: Any

    def __init__(self, seed: int, reactor: Any) -> None:
        self._rng = random.Random(seed)
        self._reactor = reactor
        self.expected = bytearray()
        self.received = 0
        self.wanted = self._rng.choice([10, 50_000, 400_000])
        # Every third one leaves in the middle.
        self.abort_at = self._rng.randrange(self.wanted) if seed % 3 == 2 else None
        self.wrong = False
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self._send()

    def _send(self) -> None:
        if self.transport.disconnecting or self.done.called:
            return
        sent = self.received + len(self.expected)
        if sent < self.wanted:
            size = self._rng.choice([1, 7, 900, 16_384, 16_385, 70_000])
            piece = self._rng.randbytes(min(size, self.wanted - sent))
            self.expected += piece
            self.transport.write(piece)
            self._reactor.callLater(0, self._send)

    def dataReceived(self, data: bytes) -> None:
        self.wrong |= data != bytes(self.expected[: len(data)])
        del self.expected[: len(data)]
        self.received += len(data)
        if self.abort_at is not None and self.received > self.abort_at:
            self.transport.abortConnection()
        elif self.received == self.wanted:
            self.transport.loseConnection()
        elif self._rng.random() < 0.2:
            self.transport.pauseProducing()
            self._reactor.callLater(0.001, self._go_on)

    def _go_on(self) -> None:
        if not self.done.called:
            self.transport.resumeProducing()

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.done.callback(None)


class One(Factory):
    """Builds the protocol it is given."""

    def __init__(self, protocol: Protocol) -> None:
        self._built = protocol

    def buildProtocol(self, _address: Any) -> Protocol:
        return self._built


class TimedTurns:
    """Turns as a reactor without any can have them."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def flush_later(self, connection: TlsConnection) -> None:
        self._reactor.callLater(0, connection.flush)


@pytest.mark.parametrize("with_turns", [False, True])
@pytest.mark.parametrize("engine", [TlsEngine, best_engine])
@pytest_twisted.ensureDeferred
async def test_random_sizes_pauses_and_aborts_against_a_stock_client(
    engine: type[TlsEngine], with_turns: bool
) -> None:
    from twisted.internet import reactor

    world = World()
    turns = TimedTurns(reactor) if with_turns else None
    context = server_context()

    def build() -> TlsConnection:
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        return TlsConnection(world.context, engine(connection), lambda _alpn: Echo(), turns)

    factory: Any = Factory.forProtocol(build)
    port: Any = reactor.listenTCP(0, factory, interface="127.0.0.1")
    try:
        stressers = [Stresser(seed, reactor) for seed in range(30)]
        for stresser in stressers:
            wrapped = TLSMemoryBIOFactory(
                AnyServer("www.example.com", ()),
                isClient=True,
                wrappedFactory=One(stresser),
            )
            await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(wrapped)
        for stresser in stressers:
            await stresser.done.addTimeout(PATIENCE_SECONDS, reactor)
        assert not any(stresser.wrong for stresser in stressers)
        whole = [stresser for stresser in stressers if stresser.abort_at is None]
        assert [stresser.received for stresser in whole] == [it.wanted for it in whole]
        await wait_for(
            lambda: not any(isinstance(it, TlsConnection) for it in world.context.connections),
            "every connection to end",
        )
    finally:
        await port.stopListening()
