"""A visitor's HTTP/2 connection, inside TLS (RFC 9113, RFC 8441).

Here it is seen from outside: bytes, time, and how it ends. What the bytes say is
:mod:`.http2_session`'s. States::

    OPEN -> (drain, or idle for too long) LEAVING: a first GOAWAY is sent, new streams still served
         -> (the visitor has seen it) REFUSING: a second one names the last stream that is served
         -> (the last stream has ended) CLOSING: nothing more is read
    any of them -> (the visitor breaks the protocol, or overdoes it) CLOSING
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.context import ProxyContext
from watchducks.proxy.http2_frames import FrameReader
from watchducks.proxy.http2_limits import Http2Limits
from watchducks.proxy.http2_session import Http2Session
from watchducks.proxy.http2_wire import GOAWAY, LAST_STREAM_ID, ErrorCodes, Frame, Http2Error
from watchducks.proxy.peers import Peer, address_of

_log = Logger()


class _Alarm:
    """A time limit of the connection beside others."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring

    def expired(self) -> None:
        self._ring()


@implementer(IPushProducer, IHalfCloseableProtocol)
class Http2Connection(Protocol):
    """Owns its session (:class:`watchducks.proxy.http2_session.SessionOwner`)."""

    transport: Any  # TLS: Twisted has no interface with all that it offers
    _session: Http2Session

    def __init__(
        self,
        context: ProxyContext,
        covers: Callable[[str], bool] | None = None,
        peer: Peer | None = None,
        *,
        limits: Http2Limits | None = None,
    ) -> None:
        """:param covers: whether the certificate presented is one for a host; None: none was.
        :param peer: the client; None: who the transport says, and he is not trusted.
        """
        self.writable = True
        self._context = context
        self._limits = context.limits
        self._own_limits = limits or Http2Limits()
        self._deadlines = context.deadlines
        self._covers = covers
        self._peer = peer
        self._now = context.clock.seconds()
        self._began = self._now
        self._frames = FrameReader(self._own_limits, self._now)
        self._leaving = False
        self._visitor_leaves = False
        self._closing = False
        self._close_when_flushed = False
        self._reading = False
        self._owing = False
        self._unread_bytes = 0
        self._head_alarm = _Alarm(self._head_late)
        self._goaway_alarm = _Alarm(self.leaving_is_known)

    # --- the connection ---

    def connectionMade(self) -> None:
        peer = self._peer or Peer(address_of(self.transport.getPeer()), trusted=False)
        self._peer = peer
        self._session = Http2Session(
            self, self._context, self._own_limits, self._frames, peer=peer, covers=self._covers
        )
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        self._context.connections.add(self)
        self._watch_frames()
        self._watch_idle()
        self.flush()
        if self._context.draining:
            self.drain()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._forget_limits()
        self._context.connections.discard(self)
        self._session.leave(politely=reason.check(ConnectionDone) is not None)

    def readConnectionLost(self) -> None:
        """The visitor closed his side: he leaves."""
        if self._closing:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """All that we had to say is in the kernel's hands."""
        self._deadlines.set(self, self._limits.linger_seconds)

    def drain(self) -> None:
        """Two GOAWAYs, a round trip apart: what was sent before the first one came is served."""
        if not self._leaving and not self._closing:
            self._leaving = True
            self._session.say_leaving()
            self._deadlines.set(self._goaway_alarm, self._own_limits.goaway_seconds)
            self.wrote()

    def leaving_is_known(self) -> None:
        self._deadlines.clear(self._goaway_alarm)
        if self._leaving and not self._closing and not self._refusing:
            self._session.refuse_new()
            self.wrote()
            self._close_if_done()

    @property
    def _refusing(self) -> bool:
        return self._session.served_up_to != LAST_STREAM_ID

    def abort(self) -> None:
        self.transport.abortConnection()

    def _close_if_done(self) -> None:
        done = self._visitor_leaves or self._refusing
        if done and not self._session.streams and not self._closing:
            self._close()

    def _fail(self, error: Http2Error) -> None:
        """End what cannot be gone on with."""
        if self._closing:
            return
        _log.debug("HTTP/2 from {peer}: {error}", peer=self._peer, error=error)
        self._session.leave(politely=False)
        self._session.fail(error.code)
        self._close()

    def _close(self) -> None:
        """Close our side once all is sent, then wait for the visitor to close his."""
        self.flush()
        self._closing = True
        self._forget_limits()
        self._deadlines.set(self, self._limits.flush_seconds)
        if not self.writable:
            self._close_when_flushed = True
            return
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    # --- time ---

    def _forget_limits(self) -> None:
        for owner in (self, self._head_alarm, self._goaway_alarm):
            self._deadlines.clear(owner)

    def expired(self) -> None:
        """The visitor took nothing, or asked nothing, for too long."""
        if self._closing or not self.writable:
            self.abort()
        else:
            self.drain()

    def _head_late(self) -> None:
        self._fail(Http2Error(ErrorCodes.NO_ERROR, "a field section took too long"))

    def _watch_frames(self) -> None:
        """Give the visitor time for what he has begun."""
        owing = self._frames.owes
        if owing != self._owing and not self._closing:
            self._owing = owing
            if owing:
                self._deadlines.set(self._head_alarm, self._limits.head_seconds)
            else:
                self._deadlines.clear(self._head_alarm)

    def _watch_idle(self) -> None:
        if self._closing or not self.writable:
            return  # another limit is set
        if self._session.streams:
            self._deadlines.clear(self)
        else:
            self._deadlines.set(self, self._limits.visitor_idle_seconds)

    def streams_changed(self) -> None:
        self.wrote()
        if not self._session.streams:
            self._watch_idle()
            self._close_if_done()

    # --- from the visitor ---

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        now = self._now = self._context.clock.seconds()
        if not self._owing:
            self._began = now
        idle = not self._session.streams
        self._frames.feed(data)
        self._reading = True
        try:
            while (frame := self._frames.take(now)) is not None:
                self._take(frame)
        except Http2Error as error:
            self._fail(error)
        finally:
            self._reading = False
        self._watch_frames()
        if idle and self._session.streams:
            self._watch_idle()
        self.flush()

    def _take(self, frame: Frame) -> None:
        if self._closing:
            return  # what comes after the last stream is nobody's
        if frame.kind == GOAWAY:
            # He begins nothing more; what was begun is completed.
            self._visitor_leaves = True
            self._close_if_done()
        else:
            self._session.receive(frame, self._now, self._began)

    # --- to the visitor ---

    def wrote(self) -> None:
        if not self._reading:  # or it is sent when all that was received has been looked at
            self.flush()

    def flush(self) -> None:
        if self._closing:
            return
        data = self._session.take()
        if not data:
            return
        if not self.writable:
            self._unread_bytes += len(data)
            if self._unread_bytes > self._own_limits.unread_bytes:
                self.abort()
                return
        self.transport.write(data)

    # The transport's view of us: the source of what it sends.

    def pauseProducing(self) -> None:
        self.writable = False
        self._deadlines.set(self, self._limits.visitor_stalled_seconds)
        self._session.pause()

    def resumeProducing(self) -> None:
        self.writable = True
        self._unread_bytes = 0
        if self._close_when_flushed:
            self._close_when_flushed = False
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        self._watch_idle()
        self._session.resume()

    def stopProducing(self) -> None:
        """connectionLost follows and does what is needed."""
