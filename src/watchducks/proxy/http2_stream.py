"""One stream of an HTTP/2 connection: a request, its answer, and nobody's but its own limits.

The two directions are independent. The request's is held while the exchange takes nothing: what
comes meanwhile is kept, not acknowledged, and so bounded by the stream's window. The answer's is
blocked while the visitor's windows, or his socket, are full: then the exchange is paused, and what
it had read already is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from watchducks.proxy.context import ProxyContext
from watchducks.proxy.deadlines import Pace
from watchducks.proxy.errors import Reason, answer_of
from watchducks.proxy.exchange import Exchange
from watchducks.proxy.framing import CHUNKED, Trailers
from watchducks.proxy.http2_flow import ReceiveWindow
from watchducks.proxy.http2_request import Section, trailer_section
from watchducks.proxy.http2_wire import ErrorCodes
from watchducks.proxy.peers import Scheme

if TYPE_CHECKING:
    from watchducks.proxy.headers import VisitorFields

# A body of any length: without Content-Length, or a tunnel's.
_ANY_LENGTH: Final = -1


class StreamOwner(Protocol):
    """What a stream needs of its connection. Whatever is sent leaves with the present turn."""

    @property
    def writable(self) -> bool:
        """Whether the visitor's socket takes more."""

    def covers(self, host: str) -> bool:
        """Return whether this connection may carry requests for ``host``."""

    def send_answer(self, stream_id: int, status: int, lines: list[bytes], *, end: bool) -> None:
        """Send the head of an answer; with ``end`` it is all of it.

        :param lines: its fields as HTTP/1.1 writes them.
        """

    def send_trailers(self, stream_id: int, section: Section) -> None:
        """Send the field section that ends a stream."""

    def send_data(self, stream: Http2Stream, data: bytes, offset: int, *, last: bool) -> int:
        """Send what the windows allow of ``data[offset:]``; return how much that was.

        :param last: the end of ``data`` is the end of the stream.
        """

    def end_data(self, stream_id: int) -> None:
        """Send the end of a stream alone."""

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """``size`` bytes of a body, padding included, need not be kept any more."""

    def reset(self, stream: Http2Stream, code: ErrorCodes) -> None:
        """Give the stream up, which both sides then forget."""

    def ended(self, stream: Http2Stream) -> None:
        """The answer is complete, and sent."""

    def blocked(self, stream: Http2Stream) -> None:
        """The stream waits for a window, or the socket: :meth:`Http2Stream.pump` it then."""


class Http2Stream:
    """The visitor's side of one exchange (:class:`watchducks.proxy.exchange.VisitorSide`).

    :ivar stream_id: its number.
    :ivar request_ended: the visitor sends no more on it.
    :ivar unconsumed: bytes of the body that have come and were not acknowledged.
    :ivar window: of the request's body; None: it has none.
    :ivar send_window: how much of the answer's body the visitor takes now; below 0 after SETTINGS.
    """

    __slots__ = (
        "_answer_left",
        "_answer_over",
        "_answer_paused",
        "_answer_trailers",
        "_body_left",
        "_clock",
        "_deadlines",
        "_end_sent",
        "_exchange",
        "_has_body",
        "_held",
        "_limits",
        "_offset",
        "_owner",
        "_pace",
        "_pending",
        "_request_trailers",
        "_tunnel",
        "_waiting",
        "about",
        "address",
        "request_ended",
        "scheme",
        "send_window",
        "stream_id",
        "unconsumed",
        "window",
    )

    protocol = "HTTP/2"

    def __init__(
        self,
        owner: StreamOwner,
        stream_id: int,
        context: ProxyContext,
        *,
        address: str,
        scheme: Scheme,
        about: VisitorFields,
        window: ReceiveWindow | None,
        send_window: int,
    ) -> None:
        """:param window: None: the request has no body."""
        self.stream_id = stream_id
        self.address = address
        self.scheme = scheme
        self.about = about
        self.request_ended = window is None
        self.unconsumed = 0
        self.window = window
        self.send_window = send_window
        self._owner = owner
        self._clock = context.clock
        self._limits = context.limits
        self._deadlines = context.deadlines
        self._exchange: Exchange | None = None
        # the request
        self._has_body = False
        self._held = False
        self._body_left = _ANY_LENGTH
        self._waiting = bytearray()
        self._pace: Pace | None = None
        self._request_trailers: Trailers = []
        self._tunnel = False
        # the answer
        self._pending = b""
        self._offset = 0
        self._answer_left = _ANY_LENGTH
        self._answer_trailers: Trailers = []
        self._answer_over = False
        self._answer_paused = False
        self._end_sent = False

    def start(self, exchange: Exchange, length: int, *, tunnel: bool) -> None:
        """Begin ``exchange``.

        :param length: of the request's body. :param tunnel: it asks for one.
        """
        self._exchange = exchange
        self._has_body = length != 0
        self._held = self._has_body or tunnel
        self._body_left = _ANY_LENGTH if length == CHUNKED or tunnel else length
        exchange.start()

    def refuse(
        self, reason: Reason, request_id: bytes, accepted: bytes, now: float, *, to_head: bool
    ) -> int:
        """Answer what did not become a request; return the length of the answer's body.

        :param accepted: its Accept-Language. :param now: POSIX seconds. :param to_head: it is HEAD.
        """
        status, phrase, lines, body = answer_of(reason, request_id, accepted, now)
        length = 0 if to_head else len(body)
        self.begin_answer(status, phrase, lines, length)
        if length:
            self.send_body(body)
        self.end_answer()
        return length

    # --- the request, from the connection ---

    def contradicts(self, length: int, *, end: bool) -> bool:
        """Return whether a DATA frame with ``length`` bytes makes the body another than was said
        (RFC 9113 section 8.1.1)."""
        left = self._body_left
        if left == _ANY_LENGTH or self.request_ended:
            return False
        return length > left or (end and length < left)

    def request_data(self, data: bytes, size: int) -> None:
        """Some of the body has come; it took ``size`` bytes of the window."""
        if self._body_left != _ANY_LENGTH:
            self._body_left -= len(data)
        exchange = self._exchange
        if exchange is None:
            self._owner.consumed(self, size)
        elif self._held:
            self._waiting += data
            self.unconsumed += size
        else:
            self._owner.consumed(self, size)
            if data:
                exchange.request_body(data)
            self._watch_request(len(data))

    def request_trailers(self, trailers: Trailers) -> None:
        """The fields after the body have come; :meth:`request_end` follows."""
        self._request_trailers = trailers

    def request_end(self) -> None:
        """The body is complete, or the visitor sends no more into the tunnel."""
        self.request_ended = True
        if self._body_left > 0:
            self.request_failed(Reason.BAD_REQUEST)
            return
        if not self._held:
            self._deliver_end()

    def _deliver_end(self) -> None:
        self._watch_request()
        if self._exchange is not None and (self._has_body or self._tunnel):
            self._exchange.request_end(self._request_trailers)

    def request_failed(self, reason: Reason) -> None:
        """The request is malformed, which is seen only now: answer if that is still possible."""
        exchange = self._exchange
        if exchange is not None:
            exchange.request_failed(reason)
        if not self._end_sent:
            self._exchange = None
            self._owner.reset(self, ErrorCodes.PROTOCOL_ERROR)

    def visitor_left(self, *, politely: bool) -> None:
        """The visitor gave the stream up, or left altogether. Nothing is sent any more.

        :param politely: as one closes a tunnel, not as one breaks it.
        """
        self._deadlines.clear(self)
        self._pending = b""
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._tunnel and politely:
            exchange.tunnel_closed()
        else:
            exchange.visitor_left()

    def expired(self) -> None:
        exchange = self._exchange
        if self._pending:
            self._exchange = None
            if exchange is not None:
                exchange.visitor_left(Reason.VISITOR_STALLED)
            self._owner.reset(self, ErrorCodes.CANCEL)
        elif exchange is not None:
            exchange.request_failed(Reason.BODY_TIMEOUT)

    def _watch_request(self, received: int = 0) -> None:
        """Give the visitor time for more of the body, ``received`` bytes of which just came, if it
        is he who is waited for."""
        if (
            self._has_body
            and not self._held
            and not self.request_ended
            and self._exchange is not None
        ):
            if self._pace is None:
                self._pace = Pace.of_body(self._clock, self._limits)
            left = self._pace.seconds_left(received)
            if not self._pending:
                self._deadlines.set(self, left)
        elif not self._pending:  # or the limit of the other direction is set, for the same visitor
            self._deadlines.clear(self)

    # --- the exchange's view ---

    def covers(self, host: str) -> bool:
        return self._owner.covers(host)

    def pause_request(self) -> None:
        self._held = True
        self._watch_request()

    def resume_request(self) -> None:
        self._held = False
        exchange = self._exchange
        if exchange is None:
            return
        if self._pace is not None:
            self._pace.go_on()  # our own time and the origin's are not the visitor's
        size, self.unconsumed = self.unconsumed, 0
        if size:
            self._owner.consumed(self, size)
        data = bytes(self._waiting)
        if data:
            self._waiting.clear()
            exchange.request_body(data)
        if self.request_ended and not self._held:
            self._deliver_end()
        elif self._exchange is exchange:
            self._watch_request(len(data))

    def send_interim(self, status: int, _phrase: bytes, lines: list[bytes]) -> None:
        self._owner.send_answer(self.stream_id, status, lines, end=False)

    def begin_answer(self, status: int, _phrase: bytes, lines: list[bytes], length: int) -> None:
        self._answer_left = length if length > 0 else _ANY_LENGTH
        self._end_sent = length == 0
        self._owner.send_answer(self.stream_id, status, lines, end=length == 0)

    def whole_answer(self, status: int, phrase: bytes, lines: list[bytes], body: bytes) -> None:
        self.begin_answer(status, phrase, lines, len(body))
        if body:
            self.send_body(body)
        self.end_answer()

    def begin_tunnel(self, status: int, _phrase: bytes, lines: list[bytes]) -> None:
        self._tunnel = True
        self._owner.send_answer(self.stream_id, status, lines, end=False)
        self.resume_request()

    def send_body(self, data: bytes) -> None:
        if self._answer_left != _ANY_LENGTH:
            self._answer_left -= len(data)
        if self._pending:
            self._pending = self._pending[self._offset :] + data
            self._offset = 0
            return
        self._pending = data
        self._offset = 0
        self.pump()

    def send_trailers(self, trailers: Trailers) -> None:
        self._answer_trailers = trailers

    def end_answer(self) -> None:
        self._exchange = None
        self._answer_over = True
        if not self._pending:
            self._finish()

    def abort_answer(self) -> None:
        self._exchange = None
        self._owner.reset(self, ErrorCodes.INTERNAL_ERROR)

    # --- the answer, to the connection ---

    def pump(self) -> None:
        """Send what may be sent now of what is pending."""
        pending = self._pending
        last = self._answer_left == 0
        sent = self._owner.send_data(self, pending, self._offset, last=last)
        if self._pending is not pending:
            return  # the socket broke on the way
        self._offset += sent
        if self._offset < len(pending):
            if sent or not self._answer_paused:
                self._deadlines.set(self, self._limits.visitor_stalled_seconds)
            self.pause()
            self._owner.blocked(self)
            return
        self._pending = b""
        self._end_sent = last
        self._watch_request()
        if self._answer_over:
            self._finish()
        else:
            self.resume()

    def pause(self) -> None:
        """Ask the exchange for no more: the visitor does not keep up."""
        if not self._answer_paused and self._exchange is not None:
            self._answer_paused = True
            self._exchange.pause_answer()

    def resume(self) -> None:
        """Ask for more, if nothing is pending and the socket takes it."""
        if self._answer_paused and not self._pending and self._owner.writable:
            self._answer_paused = False
            if self._exchange is not None:
                self._exchange.resume_answer()

    def _finish(self) -> None:
        if not self._end_sent:
            self._end_sent = True
            if self._answer_trailers:
                section = trailer_section(self._answer_trailers)
                self._owner.send_trailers(self.stream_id, section)
            else:
                self._owner.end_data(self.stream_id)
        self._deadlines.clear(self)
        self._owner.ended(self)
