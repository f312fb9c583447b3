"""A connection to the TLS port: look at the ClientHello, then decide whose it is.

The ClientHello is only peeked at: whoever gets the connection (OpenSSL with one of our
certificates, or the origin) gets every byte of it. While we decide, the connection is this
protocol's; then it is handed over, and this protocol hears of it no more.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import CancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from watchducks.model.routing import Route
from watchducks.proxy.clienthello import ClientHello, NotAClientHello, read_client_hello
from watchducks.proxy.context import Certificates, ProxyContext
from watchducks.proxy.entrance import Undecided, hand_over
from watchducks.proxy.http1 import VisitorConnection
from watchducks.proxy.http2 import Http2Connection
from watchducks.proxy.passthrough import Passthrough
from watchducks.proxy.peers import Peer, address_of
from watchducks.proxy.tls import TlsConnection, Turns
from watchducks.proxy.tls_engine import best_engine
from watchducks.routes import UNKNOWN, Unknown

_log = Logger()

_HTTP2: Final = b"h2"
# What contexts are to agree upon with visitors, the most wanted first.
ALPN: Final = (_HTTP2, b"http/1.1")
# RFC 8737: a CA looks for its answer in a certificate that only the origin can make.
_ACME_TLS: Final = b"acme-tls/1"


class Decision(Enum):
    """What becomes of a TLS connection."""

    TERMINATE = auto()
    PASS_THROUGH = auto()
    # Nobody's: an answer of ours (404, or the health page) under a certificate that fits nobody.
    DEFAULT = auto()
    # Only a look-up of the route can tell.
    LOOK_UP = auto()


def decide(hello: ClientHello, *, certificate: bool, route: Route | Unknown | None) -> Decision:
    """Return what becomes of the connection. Pure.

    :param certificate: whether we hold one for the server name.
    :param route: the server name's.
    """
    if not hello.server_name:
        return Decision.DEFAULT
    challenge = _ACME_TLS in hello.alpn
    if certificate and not challenge:
        return Decision.TERMINATE
    if route is UNKNOWN:
        return Decision.LOOK_UP
    if isinstance(route, Route):
        return Decision.PASS_THROUGH
    return Decision.TERMINATE if certificate else Decision.DEFAULT


class TlsAccept(Undecided):
    """Owns a connection until its ClientHello is complete and its fate decided."""

    def __init__(
        self,
        context: ProxyContext,
        certificates: Certificates,
        turns: Turns | None,
        peer: Peer | None = None,
    ) -> None:
        """:param turns: of the reactor, if it has any.
        :param peer: the client; None: who the transport says, and he is not trusted.
        """
        super().__init__(context)
        self._certificates = certificates
        self._turns = turns
        self._peer = peer
        self._buffer = b""
        self._began = context.clock.seconds()
        self._deciding = False
        self._lost = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        if self._deciding:  # paused, but one read may already have been under way
            return
        try:
            hello = read_client_hello(self._buffer)
        except NotAClientHello:
            self.transport.abortConnection()
            return
        if hello is not None:
            self._decide(hello, self._context.routes.known(hello.server_name))
        elif len(self._buffer) > self._context.limits.client_hello_bytes:
            self.transport.abortConnection()

    def _decide(self, hello: ClientHello, route: Route | Unknown | None) -> None:
        context = self._certificates.context_for(hello.server_name) if hello.server_name else None
        decision = decide(hello, certificate=context is not None, route=route)
        if decision is Decision.LOOK_UP:
            self._deciding = True
            self.transport.pauseProducing()
            self._context.tasks.start(self._look_up(hello), "a look-up")
        elif decision is Decision.PASS_THROUGH:
            assert isinstance(route, Route)
            self._pass_through(hello, route)
        elif decision is Decision.TERMINATE and context is not None:
            self._terminate(context, hello.server_name)
        else:
            self._terminate(self._certificates.default_context, "")

    async def _look_up(self, hello: ClientHello) -> None:
        # Never cancelled by a visitor who leaves: others may wait for the same look-up.
        try:
            route = await self._context.routes.look_up(hello.server_name)
        except CancelledError:
            self.transport.abortConnection()
            raise
        except Exception as error:
            _log.warn("{host} could not be looked up: {error}", host=hello.server_name, error=error)
            self.transport.abortConnection()
            return
        if not self._lost:
            self.transport.resumeProducing()  # before it is another's, who may pause it himself
            self._decide(hello, route)

    def _terminate(self, context: SSL.Context, server_name: str) -> None:
        certificates = self._certificates

        def covers(host: str) -> bool:
            # Without a certificate of its own, a connection may carry no site's requests.
            return bool(server_name) and (
                host == server_name or certificates.covers(server_name, host)
            )

        def build(alpn: bytes) -> Protocol:
            if alpn == _HTTP2:
                return Http2Connection(self._context, covers, self._peer)
            return VisitorConnection(self._context, "https", covers, self._peer)

        # OpenSSL seals session tickets with the keys of the context that a connection begins with.
        # All begin with the same, so that a visitor's session outlives our own context of his site,
        # and is known to all processes that were forked after it was made.
        default = certificates.default_context
        connection = SSL.Connection(default, None)
        if context is not default:
            connection.set_context(context)
        connection.set_accept_state()
        self._hand_over(TlsConnection(self._context, best_engine(connection), build, self._turns))

    def _pass_through(self, hello: ClientHello, route: Route) -> None:
        peer = self._peer
        client = address_of(self.transport.getPeer()) if peer is None else peer.address
        self._hand_over(
            Passthrough(
                self._context,
                route,
                hello.server_name,
                client,
                clock_began=self._began,
            )
        )

    def _hand_over(self, protocol: Any) -> None:
        """Make the connection ``protocol``'s, the bytes that were peeked at included."""
        self._let_go()
        buffer, self._buffer = self._buffer, b""
        hand_over(self.transport, protocol, buffer)
