"""A TLS connection carried to the origin untouched: a site whose certificate we do not hold (yet).

What is inside cannot be seen, so it leaves one row of kind ``connection``: who, where to, how much,
how long. Either side may close its half; the other half goes on.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.model.routing import Route
from watchducks.model.rows import ANSWERED, Row
from watchducks.proxy.context import ProxyContext
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.pool import connect_to_origin


@implementer(IHalfCloseableProtocol, IPushProducer)
class _Side(Protocol):
    """One of the two connections. Each is the producer of what the other one sends."""

    transport: Any

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.byte_count = 0
        self.closed = False  # it sends no more
        self.lost = False

    def connect_with(self, other: _Side) -> None:
        """Let each side send what the other one reads."""
        self.other = other
        other.other = self
        self.transport.registerProducer(other, streaming=True)
        other.transport.registerProducer(self, streaming=True)

    def dataReceived(self, data: bytes) -> None:
        self.byte_count += len(data)
        other = self.other
        if other is not None:
            self.moved()
            other.transport.write(data)

    def moved(self) -> None:
        """Some bytes went from one side to the other."""

    def readConnectionLost(self) -> None:
        """This side sends no more: close the other's sending half, once all is sent."""
        self.closed = True
        other = self.other
        if other is None:  # it left before there was anybody to tell
            self.transport.abortConnection()
            return
        other.transport.unregisterProducer()
        if other.closed:
            self.transport.unregisterProducer()
            other.transport.loseConnection()
            self.transport.loseConnection()
        else:
            other.transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        """Our sending half is closed, as :meth:`readConnectionLost` of the other side asked."""

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        self.lost = True
        other = self.other
        if other is not None and not other.lost:
            # All that this side had read is in the other's buffer: it is still sent.
            other.transport.unregisterProducer()
            other.transport.loseConnection()

    def pauseProducing(self) -> None:
        if not (self.lost or self.closed):
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if not (self.lost or self.closed):  # a half that was closed would be reported again
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """connectionLost follows and does what is needed."""


class _OriginSide(_Side):
    """The connection to the origin."""

    def __init__(self, visitor: Passthrough) -> None:
        super().__init__()
        self._visitor = visitor

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def moved(self) -> None:
        self._visitor.moved()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._visitor.origin_lost()
        super().connectionLost(reason)

    def expired(self) -> None:
        """The visitor is gone, and the origin does not take what he sent last."""
        self.transport.abortConnection()


class Passthrough(_Side):
    """The visitor's connection; owns the one to the origin, and leaves the row."""

    def __init__(
        self,
        context: ProxyContext,
        route: Route,
        server_name: str,
        client: str,
        *,
        clock_began: float,
    ) -> None:
        """:param client: the visitor's IP address.
        :param clock_began: when the visitor connected, by the context's clock.
        """
        super().__init__()
        self._context = context
        self._route = route
        self._server_name = server_name
        self._client = client
        self._clock_began = clock_began
        self._origin = _OriginSide(self)
        self._origin_us = 0
        self._early = b""
        self._reason: str = ANSWERED

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self._context.connections.add(self)
        self.transport.pauseProducing()  # until there is somebody to send it to
        self._context.tasks.start(self._connect(), "connecting to an origin")

    async def _connect(self) -> None:
        context, origin = self._context, self._route.origin
        began = context.clock.seconds()
        try:
            await connect_to_origin(
                context.pools.reactor,
                origin.addresses,
                origin.tls_port,
                context.limits,
                lambda: self._origin,
            )
        except CancelledError:
            self.abort()
            raise
        except OriginFailure as failure:
            # The origin's TLS cannot be answered for it; the visitor sees what he would see there.
            self._reason = str(failure.reason)
            self.abort()
            return
        self._origin_us = int((context.clock.seconds() - began) * 1_000_000)
        if self.lost:
            self._origin.transport.abortConnection()
            return
        self.connect_with(self._origin)
        early, self._early = self._early, b""
        self.moved()
        self._origin.transport.write(early)
        self.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        if self.other is None:
            # The ClientHello, and what one more read may bring before the pause holds.
            self.byte_count += len(data)
            self._early += data
        else:
            super().dataReceived(data)

    def moved(self) -> None:
        self._context.deadlines.set(self, self._context.limits.passthrough_idle_seconds)

    def origin_lost(self) -> None:
        self._context.deadlines.clear(self._origin)

    def expired(self) -> None:
        self.abort()
        self._origin.transport.abortConnection()

    def drain(self) -> None:
        """It may be in the middle of anything: it goes on until it ends, or its time is up."""

    def abort(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        context, route = self._context, self._route
        context.deadlines.clear(self)
        context.connections.discard(self)
        if self.other is not None and not self.other.lost:
            context.deadlines.set(self._origin, context.limits.flush_seconds)
        if self.other is None and not self._reason:
            self._reason = str(Reason.VISITOR_LEFT)
        context.sink.record(
            Row(
                time_us=int(context.wall() * 1_000_000),
                site_id=route.site_id,
                kind="connection",
                scheme="https",
                protocol="TLS",
                method="",
                host=self._server_name,
                path="",
                status=0,
                reason=self._reason,
                client=self._client,
                user_agent="",
                referrer="",
                request_bytes=self.byte_count,
                response_bytes=self._origin.byte_count,
                duration_us=max(0, int((context.clock.seconds() - self._clock_began) * 1_000_000)),
                origin_us=self._origin_us,
            )
        )
