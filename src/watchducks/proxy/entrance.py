"""The first moments of a connection: whose it is, and whether he may have one more.

Where neither ``trusted_peers`` nor a limit on connections is set, nothing of this touches a
connection after it was built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.context import ProxyContext
from watchducks.proxy.peers import Peer, address_of, peer_at
from watchducks.proxy.proxy_protocol import BadProxyHeader, read_proxy_header

# Makes the protocol of a connection; None: its peer is who the transport says, and not trusted.
Build = Callable[[Peer | None], Any]


def hand_over(transport: Any, protocol: Any, data: bytes) -> None:
    """Make a connection ``protocol``'s; whoever had it hears of it no more.

    :param data: what was received and is not dealt with; it is delivered first.
    """
    current = transport.protocol
    if isinstance(current, Counted):
        current.inner = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    if data:
        protocol.dataReceived(data)


@implementer(IHalfCloseableProtocol)
class Counted(Protocol):
    """Stands before a connection that is counted, to tell when it ends."""

    def __init__(self, inner: Any, ended: Callable[[], None]) -> None:
        self.inner = inner
        self._ended = ended

    def connectionMade(self) -> None:
        self.inner.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self.inner.dataReceived(data)

    def readConnectionLost(self) -> None:
        if IHalfCloseableProtocol.providedBy(self.inner):
            self.inner.readConnectionLost()
        else:
            self.transport.loseConnection()  # type: ignore[union-attr]

    def writeConnectionLost(self) -> None:
        if IHalfCloseableProtocol.providedBy(self.inner):
            self.inner.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended()
        self.inner.connectionLost(reason)


class Undecided(Protocol):
    """Owns a connection while its first bytes are awaited, which has a time limit.

    Whoever derives from it calls :meth:`_let_go` when it hands the connection over.
    """

    transport: Any  # a TCP server transport, whose `protocol` attribute is changed to hand it over

    def __init__(self, context: ProxyContext) -> None:
        self._context = context

    def connectionMade(self) -> None:
        self._context.connections.add(self)
        self._context.deadlines.set(self, self._context.limits.client_hello_seconds)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self._let_go()

    def drain(self) -> None:
        """Nothing has been asked yet, so nothing is lost; but it may be under way."""
        if not self._context.successor:
            self.transport.abortConnection()

    def abort(self) -> None:
        self.transport.abortConnection()

    def expired(self) -> None:
        self.transport.abortConnection()

    def _let_go(self) -> None:
        self._context.deadlines.clear(self)
        self._context.connections.discard(self)


class ProxyHeaderAccept(Undecided):
    """Owns a connection of a trusted peer until it is known whether a PROXY header begins it."""

    def __init__(self, context: ProxyContext, peer: Peer, build: Build) -> None:
        super().__init__(context)
        self._peer = peer
        self._build = build
        self._buffer = b""

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        try:
            header = read_proxy_header(self._buffer)
        except BadProxyHeader:
            self.transport.abortConnection()
            return
        if header is None:
            return
        if header.client:
            peer = peer_at(header.client, self._context.trusted_networks)
            protocol = admit(self._context, peer.address, self._build(peer))
        else:  # a balancer's own connections, and those of many clients, are not counted
            protocol = self._build(self._peer)
        if protocol is None:
            self.transport.abortConnection()
            return
        self._let_go()
        buffer, self._buffer = self._buffer, b""
        hand_over(self.transport, protocol, buffer[header.size :])


def admit(context: ProxyContext, address: str, protocol: Any) -> Any:
    """Count a connection of the client at ``address``; None: it is one too many."""
    rates = context.rates
    if rates is None or not rates.limits_connections:
        return protocol
    if not rates.connected(address):
        return None
    return Counted(protocol, lambda: rates.disconnected(address))


class VisitorFactory(Factory):
    """Builds the protocols of one kind of endpoint; says nothing in the log about each of them."""

    noisy = False

    def __init__(self, context: ProxyContext, build: Build) -> None:
        self._context = context
        self._build = build

    def buildProtocol(self, address: IAddress | None) -> Any:
        """Return the protocol; None, by which Twisted closes the connection, for one too many."""
        context = self._context
        if context.trusted_networks:
            peer = peer_at(address_of(address), context.trusted_networks)
            if peer.trusted:
                return ProxyHeaderAccept(context, peer, self._build)
        return admit(context, address_of(address), self._build(None))
