"""A visitor's HTTP/1.1 or 1.0 connection, plain or inside TLS.

One exchange at a time: while one runs, what the visitor sends ahead (pipelining) stays in one
bounded buffer and the transport is not read. States::

    IDLE -> (first byte) HEAD -> (head complete) EXCHANGE -> (answer sent, body read) IDLE
      EXCHANGE -> (the origin agreed to an upgrade) TUNNEL: bytes both ways -> CLOSING
      any of them -> CLOSING: our side is closed; what still arrives is thrown away
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.context import ProxyContext
from watchducks.proxy.deadlines import Pace
from watchducks.proxy.errors import Reason, Refusal, answer_of
from watchducks.proxy.exchange import Exchange
from watchducks.proxy.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    BadBody,
    BodyReader,
    Trailers,
    chunk,
    last_chunk,
    reader_for,
)
from watchducks.proxy.headers import VisitorFields
from watchducks.proxy.heads import BadHead, Fields, HeadProblem, RequestHeadReader
from watchducks.proxy.peers import Peer, Scheme, address_of, visitor_of
from watchducks.proxy.refused import record_refused
from watchducks.proxy.request import RepeatedHead, Request, read_request

_REASONS: Final = {
    HeadProblem.SYNTAX: Reason.BAD_REQUEST,
    HeadProblem.TARGET_TOO_LONG: Reason.TARGET_TOO_LONG,
    HeadProblem.TOO_LARGE: Reason.HEAD_TOO_LARGE,
}


@implementer(IPushProducer, IHalfCloseableProtocol)
class VisitorConnection(Protocol):
    """The visitor's side of exchanges (:class:`watchducks.proxy.exchange.VisitorSide`)."""

    transport: Any  # TCP or TLS: Twisted has no common interface with all that both offer

    def __init__(
        self,
        context: ProxyContext,
        scheme: Scheme,
        covers: Callable[[str], bool] | None = None,
        peer: Peer | None = None,
    ) -> None:
        """:param covers: whether the certificate presented is one for a host; None: none was.
        :param peer: the client; None: who the transport says, and he is not trusted.
        """
        self.scheme: Scheme = scheme
        self.protocol = "HTTP/1.1"
        self.address = ""
        self._context = context
        self._limits = context.limits
        self._deadlines = context.deadlines
        self._covers = covers
        self._peer = peer
        self._own_scheme = scheme  # the connection's; `scheme` is that of a trusted peer's visitor
        self._buffer = b""
        self._head: RequestHeadReader | None = None
        self._head_is_new = False
        self._clock_began = 0.0
        self._request: Request | None = None
        self._repeated: RepeatedHead | None = None
        self._exchange: Exchange | None = None
        self._body: BodyReader | None = None
        self._held = False  # the exchange does not take the body (yet)
        self._pace: Pace | None = None  # of the body
        self._advancing = False
        self._read_paused = False
        self._write_paused = False
        self._keep = True
        self._chunked = False
        self._trailers: Trailers = ()
        self._until_close = False
        self._tunnel = False
        self._read_ended = False  # the visitor sends no more through the tunnel
        self._close_when_flushed = False
        self._closing = False

    # --- the connection ---

    def connectionMade(self) -> None:
        if self._peer is None:
            self._peer = Peer(address_of(self.transport.getPeer()), trusted=False)
        self.address = self._peer.address
        self.about = VisitorFields(self.address, self.scheme)
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        self._context.connections.add(self)
        self._deadlines.set(self, self._limits.head_seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._closing = True
        self._buffer = b""
        self._deadlines.clear(self)
        self._context.connections.discard(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._tunnel and reason.check(ConnectionDone) is not None:
            exchange.tunnel_closed()
        else:
            exchange.visitor_left()

    def readConnectionLost(self) -> None:
        """The visitor closed his side. Browsers do that to leave, so we do not wait for those who
        still read; nor does nginx. Only the sides of a tunnel end one by one."""
        if self._closing:
            self.transport.loseConnection()
        elif self._tunnel:
            self._read_ended = True
            self._advance()
        else:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """All that we had to say is in the kernel's hands."""
        self._deadlines.set(self, self._limits.linger_seconds)

    def drain(self) -> None:
        if self._exchange is not None or self._head is not None or self._closing:
            return  # the answer says that it is the last one
        self._wait_for_request()

    def _wait_for_request(self) -> None:
        seconds = self._context.idle_seconds
        if seconds:
            self._deadlines.set(self, seconds)
        else:
            self._close()

    def abort(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.visitor_left(Reason.STOPPING)
        self.transport.abortConnection()

    def expired(self) -> None:
        exchange = self._exchange
        if self._closing:
            self.abort()
        elif self._write_paused:
            self._exchange = None
            if exchange is not None:
                exchange.visitor_left(Reason.VISITOR_STALLED)
            self.abort()
        elif exchange is not None:
            exchange.request_failed(Reason.BODY_TIMEOUT)
        elif self._head is not None:
            self._refuse(Reason.HEAD_TIMEOUT, self._head)
        else:
            self._close()

    def _close(self) -> None:
        """Close our side once all is sent, then wait for the visitor to close his."""
        self._closing = True
        self._buffer = b""
        if self._write_paused:
            self._close_when_flushed = True
            return
        self._deadlines.set(self, self._limits.flush_seconds)
        self._resume_reading()  # or we would not see him close
        self.transport.unregisterProducer()
        if self._own_scheme == "http" and not self._read_ended:
            self.transport.loseWriteConnection()
        else:  # TLS waits for the other side's close_notify by itself
            self.transport.loseConnection()

    def _pause_reading(self) -> None:
        if not self._read_paused:
            self._read_paused = True
            self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        if self._read_paused and not self._read_ended:
            self._read_paused = False
            self.transport.resumeProducing()

    # --- the request ---

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        repeated = self._repeated
        if (
            repeated is not None
            and self._exchange is None
            and self._head is None
            and not self._buffer
            and not self._write_paused
        ):
            request = repeated.read(data)
            if request is not None:
                self._clock_began = self._context.clock.seconds()
                self._begin(request)
                return
        self._buffer = self._buffer + data if self._buffer else data
        self._advance()

    def _advance(self) -> None:
        """Make of the buffered bytes what can be made of them now."""
        if self._advancing:
            return  # the loop below goes on
        self._advancing = True
        try:
            while self._buffer:
                if self._exchange is None and not self._write_paused:
                    self._read_head()
                elif self._exchange is not None and self._body is not None and not self._held:
                    self._read_body(self._exchange, self._body)
                elif self._exchange is not None and self._tunnel and not self._held:
                    data, self._buffer = self._buffer, b""
                    self._exchange.request_body(data)
                else:
                    self._pause_reading()
                    return
        finally:
            self._advancing = False
        if self._read_ended and self._exchange is not None:
            self._exchange.request_end()
        elif not self._held:
            self._resume_reading()

    def _read_head(self) -> None:
        data, self._buffer = self._buffer, b""
        head = self._head
        if head is None:
            limits = self._limits
            head = self._head = RequestHeadReader(
                limits.head_bytes, limits.head_fields, limits.target_bytes
            )
            self._clock_began = self._context.clock.seconds()
            self._head_is_new = True
        try:
            rest = head.feed(data)
            if rest is None:
                if self._head_is_new:  # most heads come whole, and need no limit
                    self._head_is_new = False
                    self._deadlines.set(self, self._limits.head_seconds)
                return
            request = read_request(head)
        except BadHead as bad:
            self._refuse(_REASONS[bad.problem], head)
            return
        except Refusal as refusal:
            self._refuse(refusal.reason, head)
            return
        if self._peer is not None and self._peer.trusted:
            self._learn_visitor(self._peer, request.fields)
        elif self._head_is_new:
            raw = data[: len(data) - len(rest)]
            self._repeated = RepeatedHead.of(raw, request, self._limits) or self._repeated
        self._buffer = rest
        self._head = None
        self._begin(request)

    def _begin(self, request: Request) -> None:
        self._deadlines.clear(self)
        self._request = request
        self.protocol = "HTTP/1.1" if request.minor else "HTTP/1.0"
        self._body = reader_for(request.length)
        self._held = self._body is not None
        self._pace = None
        self._exchange = Exchange(self._context, self, request, self._clock_began)
        self._exchange.start()

    def _read_body(self, exchange: Exchange, body: BodyReader) -> None:
        try:
            part, self._buffer = body.read(self._buffer)
        except BadBody:
            self._buffer = b""
            exchange.request_failed(Reason.BAD_REQUEST)
            return
        if body.done:
            self._body = None
            self._deadlines.clear(self)
        else:
            self._wait_for_body(len(part))
        if part:
            exchange.request_body(part)
        if body.done and self._exchange is exchange:
            self._held = False  # the origin may have asked for a pause with the last bytes
            exchange.request_end(body.trailers)

    def _wait_for_body(self, received: int) -> None:
        """Limit the time until more of the body comes, ``received`` bytes of which just did."""
        if self._pace is None:
            self._pace = Pace.of_body(self._context.clock, self._limits)
        self._deadlines.set(self, self._pace.seconds_left(received))

    def _learn_visitor(self, peer: Peer, fields: Fields) -> None:
        """Believe a trusted peer about who made this request, and by which scheme."""
        networks = self._context.trusted_networks
        address, scheme = visitor_of(peer, self._own_scheme, fields, networks)
        if (address, scheme) != (self.address, self.scheme):
            self.address, self.scheme = address, scheme
            self.about = VisitorFields(address, scheme)

    def _refuse(self, reason: Reason, head: RequestHeadReader) -> None:
        """Answer what did not become a request, and close: where the next one begins is unknown."""
        method, target, fields = head.salvage()
        accepted = b",".join(value for name, value in fields if name.lower() == b"accept-language")
        status, phrase, lines, body = answer_of(
            reason, self._context.new_request_id(), accepted, self._context.wall()
        )
        self._head = None
        if self._peer is not None and self._peer.trusted:
            self._learn_visitor(self._peer, fields)
        if method == b"HEAD":
            body = b""
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n%bConnection: close\r\n\r\n%b"
            % (status, phrase, b"".join(lines), body)
        )
        record_refused(
            self._context,
            reason,
            scheme=self.scheme,
            protocol=self.protocol,
            address=self.address,
            method=method,
            target=target,
            fields=fields,
            response_bytes=len(body),
            clock_began=self._clock_began,
        )
        self._close()

    # --- the exchange ---

    def covers(self, host: str) -> bool:
        return self._covers is None or self._covers(host)

    def pause_request(self) -> None:
        self._held = True
        self._deadlines.clear(self)  # it is the origin that is slow
        self._pause_reading()

    def resume_request(self) -> None:
        self._held = False
        if self._body is not None:
            if self._pace is not None:
                self._pace.go_on()  # our own time and the origin's are not the visitor's
            self._wait_for_body(0)
        self._resume_reading()
        self._advance()

    def send_interim(self, status: int, phrase: bytes, lines: list[bytes]) -> None:
        self.transport.write(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, b"".join(lines)))

    def begin_answer(self, status: int, phrase: bytes, lines: list[bytes], length: int) -> None:
        framed = length not in (CHUNKED, UNTIL_CLOSE)
        self.transport.write(self._answer_head(status, phrase, lines, framed=framed))

    def whole_answer(self, status: int, phrase: bytes, lines: list[bytes], body: bytes) -> None:
        self.transport.write(self._answer_head(status, phrase, lines, framed=True) + body)
        self.end_answer()

    def _answer_head(
        self, status: int, phrase: bytes, lines: list[bytes], *, framed: bool
    ) -> bytes:
        """:param framed: the body's length is among the fields, or it has none."""
        request = self._request
        assert request is not None
        # Without its framing, the body ends with the connection: all that 1.0 understands.
        self._until_close = not framed and request.minor == 0
        self._chunked = not framed and request.minor == 1
        self._keep = (
            request.keep_alive
            and not self._until_close
            and self._body is None
            and not self._context.draining
        )
        if self._chunked:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        if not self._keep:
            lines.append(b"Connection: close\r\n")
        elif request.minor == 0:
            lines.append(b"Connection: keep-alive\r\n")
        return b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, phrase, b"".join(lines))

    def begin_tunnel(self, status: int, phrase: bytes, lines: list[bytes]) -> None:
        self._tunnel = True
        self._keep = self._chunked = self._until_close = False
        self.transport.write(
            b"HTTP/1.1 %d %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n"
            % (status, phrase, b"".join(lines))
        )
        self.resume_request()

    def send_body(self, data: bytes) -> None:
        self.transport.write(chunk(data) if self._chunked else data)

    def send_trailers(self, trailers: Trailers) -> None:
        self._trailers = trailers if self._chunked else ()

    def end_answer(self) -> None:
        if self._chunked:
            self.transport.write(last_chunk(self._trailers))
            self._trailers = ()
        self._exchange = None
        if not self._keep or self._body is not None:
            self._body = None
            self._close()
            return
        if not self._write_paused or not self._context.idle_seconds:
            self._wait_for_request()
        if self._buffer or self._read_paused:
            self._advance()

    def abort_answer(self) -> None:
        self._exchange = None
        self._body = None
        if self._until_close:
            self.abort()  # only a reset tells this visitor that something is missing
        else:
            self._close()  # what he has not got yet is still worth having

    # --- the transport's view of us: the source of what it sends ---

    def pauseProducing(self) -> None:
        self._write_paused = True
        self._deadlines.set(self, self._limits.visitor_stalled_seconds)
        if self._exchange is not None:
            self._exchange.pause_answer()

    def resumeProducing(self) -> None:
        self._write_paused = False
        if self._close_when_flushed:
            self._close()
            return
        if self._exchange is not None:
            self._deadlines.clear(self)
            self._exchange.resume_answer()
        else:
            self._wait_for_request()
        self._advance()

    def stopProducing(self) -> None:
        """connectionLost follows and does what is needed."""
