"""One connection to an origin: HTTP/1.1 as a client, one exchange after the other.

States: connecting -> ready -> (begin) busy -> (answer ends) idle in the pool -> busy ... -> closed.
While busy there is a receiver, which is told everything and, last, exactly one of ``answer_end``
and ``origin_failed``. An upgrade that the origin agrees to makes a tunnel of it: bytes both ways,
until either side ends, and then it is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from typing import Protocol as Interface

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.answer import Answer, read_answer
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.framing import (
    CHUNKED,
    BadBody,
    BodyReader,
    CloseReader,
    Trailers,
    chunk,
    last_chunk,
    reader_for,
)
from watchducks.proxy.heads import AnswerHeadReader, BadHead, HeadProblem

if TYPE_CHECKING:
    from watchducks.proxy.pool import OriginPool

# Interim answers (103, 102, 100) before one answer: more than a handful is an origin gone wrong.
MAX_INTERIM_ANSWERS: Final = 16
# Longer heads are not kept for the next answer: usual ones are a quarter of it, and what is kept is
# held as long as the connection, of which there are 2,048.
_KEPT_HEAD_BYTES: Final = 2048


class AnswerReceiver(Interface):
    """Who asked: the exchange. Nothing is called any more after the last two, or after
    :meth:`OriginConnection.abandon`."""

    def answer_interim(self, answer: Answer) -> None:
        """1xx."""

    def answer_head(self, answer: Answer) -> None:
        """The final answer begins."""

    def answer_body(self, data: bytes) -> None:
        """Some of its body; not empty."""

    def answer_whole(self, answer: Answer, body: bytes) -> None:
        """The final answer, complete with its body: instead of :meth:`answer_head`,
        :meth:`answer_body` and :meth:`answer_end`."""

    def answer_tunnel(self, answer: Answer) -> None:
        """The origin agreed to the upgrade: its bytes come by :meth:`answer_body`, and the
        visitor's go by :meth:`OriginConnection.send_body`."""

    def answer_end(self, trailers: Trailers) -> None:
        """It is complete. The connection is not the receiver's any more."""

    def origin_failed(self, reason: Reason, *, silent: bool) -> None:
        """It will not be completed. ``silent``: the origin closed without answering one byte."""

    def pause_request(self) -> None:
        """The origin takes no more of the request's body for now."""

    def resume_request(self) -> None:
        """It does again."""


@implementer(IPushProducer)
class OriginConnection(Protocol):
    """Made and owned by its :class:`~watchducks.proxy.pool.OriginPool`; lent to one exchange.

    :ivar ready: fires once TCP, and TLS if wanted, are there, or with :class:`OriginFailure`.
    :ivar idle_since: when its last exchange ended, by the pool's clock.
    :ivar used: whether it has carried an exchange before the present one.
    """

    transport: Any  # TCP or TLS: Twisted has no common interface with all that both offer

    def __init__(self, pool: OriginPool) -> None:
        self.ready: Deferred[None] = Deferred()
        self.idle_since = 0.0
        self.used = False
        self._pool = pool
        self._limits = pool.limits
        self._deadlines = pool.deadlines
        self._is_ready = False
        self._closing = False
        self._receiver: AnswerReceiver | None = None
        self._silent = True
        self._paused = False
        self._to_head = False
        self._chunked = False
        self._request_ended = True
        self._upgrade = False
        self._tunnel = False
        self._blocked = False  # the origin does not take what we send
        self._interim_left = 0
        self._awaits_head = False
        self._head: AnswerHeadReader | None = None  # of one that came in part
        self._last: tuple[bytes, Answer] | None = None  # the last head that came whole
        self._body: BodyReader | None = None
        self._keep_alive = False

    # --- the connection ---

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        self._is_ready = True
        self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadlines.clear(self)
        if not self._is_ready:
            bad_tls = reason.check(SSL.Error) is not None
            self._is_ready = True
            if not self.ready.called:
                self.ready.errback(
                    OriginFailure(Reason.ORIGIN_TLS if bad_tls else Reason.ORIGIN_RESET)
                )
            return
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            self._pool.forget(self)
            return
        self._pool.release(self, reusable=False)
        if isinstance(self._body, CloseReader) and reason.check(ConnectionDone) is not None:
            receiver.answer_end(())
        else:
            receiver.origin_failed(Reason.ORIGIN_RESET, silent=self._silent)

    def close(self) -> None:
        """Close it; it is not in use. A peer that does not close its side as well is cut off."""
        if self._closing:
            return
        self._closing = True
        self._deadlines.set(self, self._limits.linger_seconds)
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self) -> None:
        """Cut it off, whatever it does."""
        self._closing = True
        self._deadlines.clear(self)
        self.transport.abortConnection()

    def expired(self) -> None:
        receiver = self._receiver
        if receiver is None:
            if self._closing:
                self.abort()
            else:
                self._pool.forget(self)
                self.close()
        elif self._tunnel and not self._blocked:
            self._fail(receiver, Reason.TUNNEL_IDLE)
        elif not self._request_ended:
            self._fail(receiver, Reason.ORIGIN_STALLED)
        elif self._awaits_head:
            self._fail(receiver, Reason.FIRST_BYTE_TIMEOUT)
        else:
            self._fail(receiver, Reason.ANSWER_TIMEOUT)

    # --- the request ---

    def begin(
        self,
        receiver: AnswerReceiver,
        head: bytes,
        length: int,
        *,
        to_head: bool,
        upgrade: bool = False,
    ) -> None:
        """Send the head of a request; its body follows by :meth:`send_body` if ``length`` is not 0.

        :param head: complete, with the empty line.
        :param to_head: the method is HEAD.
        :param upgrade: it asks for an upgrade to WebSocket.
        """
        self._receiver = receiver
        if to_head is not self._to_head:  # the same head then means another length
            self._to_head = to_head
            self._last = None
        self._upgrade = upgrade
        self._chunked = length == CHUNKED
        self._request_ended = length == 0
        self._silent = True
        self._interim_left = MAX_INTERIM_ANSWERS
        self._body = None
        self._keep_alive = False
        self._awaits_head = True
        if length == 0:
            self._deadlines.set(self, self._limits.first_byte_seconds)
        self.transport.write(head)

    def send_body(self, data: bytes) -> None:
        """Send some of the body (not empty), framed as :meth:`begin` said."""
        if self._tunnel and not self._blocked:
            self._deadlines.set(self, self._limits.tunnel_idle_seconds)
        self.transport.write(chunk(data) if self._chunked else data)

    def end_body(self, trailers: Trailers = ()) -> None:
        """The body is complete, or the visitor sends no more through the tunnel."""
        if self._request_ended:
            return
        self._request_ended = True
        if self._tunnel:
            self._blocked = False
            self.transport.unregisterProducer()
            self.transport.loseWriteConnection()
            return
        if self._chunked:
            self.transport.write(last_chunk(trailers))
        if self._awaits_head:
            self._deadlines.set(self, self._limits.first_byte_seconds)

    def abandon(self) -> None:
        """End the exchange in its middle: nobody waits for it. The receiver hears no more."""
        self._receiver = None
        self._pool.release(self, reusable=False)
        self.abort()

    def leave_tunnel(self) -> None:
        """End the tunnel; what was sent into it still goes out. The receiver hears no more."""
        self._receiver = None
        self._pool.release(self, reusable=False)
        self.close()

    # The transport's view of us: the source of what it sends.

    def pauseProducing(self) -> None:
        receiver = self._receiver
        if receiver is not None and not self._request_ended:
            self._blocked = True
            self._deadlines.set(self, self._limits.origin_stalled_seconds)
            receiver.pause_request()

    def resumeProducing(self) -> None:
        receiver = self._receiver
        if receiver is not None and not self._request_ended:
            self._blocked = False
            if self._tunnel:
                self._deadlines.set(self, self._limits.tunnel_idle_seconds)
            else:
                self._deadlines.clear(self)
            receiver.resume_request()

    def stopProducing(self) -> None:
        """connectionLost follows and does what is needed."""

    # --- the answer ---

    def pause_answer(self) -> None:
        """Read no more for now: the visitor does not keep up."""
        self._paused = True
        self._deadlines.clear(self)  # it is not the origin that is slow
        self.transport.pauseProducing()

    def resume_answer(self) -> None:
        """Read on."""
        self._paused = False
        self._watch_answer()
        self.transport.resumeProducing()

    def _watch_answer(self) -> None:
        """Bytes of the answer came, or may come again: from now on they are waited for."""
        limits = self._limits
        if not self._tunnel:
            self._deadlines.set(self, limits.answer_idle_seconds)
        elif not self._blocked:
            self._deadlines.set(self, limits.tunnel_idle_seconds)

    def dataReceived(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            if not self._closing:  # an answer that nobody asked for
                self._pool.forget(self)
                self.abort()
            return
        self._silent = False
        try:
            self._take(receiver, data)
        except (BadHead, BadBody):
            if self._receiver is receiver:
                self._fail(receiver, Reason.BAD_ANSWER)

    def _take(self, receiver: AnswerReceiver, data: bytes) -> None:
        while self._awaits_head:
            answer, data = self._take_head(data)
            if answer is None:
                return
            if answer.status == 101:
                self._take_tunnel(receiver, answer)
            elif answer.status < 200:
                self._take_interim(receiver, answer)
            else:
                self._awaits_head = False
                self._keep_alive = answer.keep_alive
                if len(data) == answer.length:  # all of it, as is usual, and no byte more
                    self._let_go(surplus=b"")
                    receiver.answer_whole(answer, data)
                    return
                self._body = reader_for(answer.length)
                receiver.answer_head(answer)
            if self._receiver is not receiver:
                return
            if not data and self._awaits_head:
                return
        if self._body is None:
            self._finish(receiver, data, ())
        else:
            self._take_body(receiver, self._body, data)

    def _take_head(self, data: bytes) -> tuple[Answer | None, bytes]:
        """Return the head that ``data`` completes, if it does, and what follows it."""
        head = self._head
        if head is None:
            last = self._last
            if last is not None and data.startswith(last[0]):
                return last[1], data[len(last[0]) :]
            head = AnswerHeadReader(self._limits.answer_head_bytes, self._limits.answer_head_fields)
            rest = head.feed(data)
            if rest is None:
                self._head = head
                return None, b""
        else:
            rest = head.feed(data)
            if rest is None:
                return None, b""
            self._head = None
            return read_answer(head, to_head=self._to_head), rest
        answer = read_answer(head, to_head=self._to_head)
        size = len(data) - len(rest)
        if size <= _KEPT_HEAD_BYTES and answer.status >= 200:
            self._last = data[:size], answer
        return answer, rest

    def _take_body(self, receiver: AnswerReceiver, body: BodyReader, data: bytes) -> None:
        if data:
            part, data = body.read(data)
            if part:
                receiver.answer_body(part)
                if self._receiver is not receiver:
                    return
        if body.done:
            self._finish(receiver, data, body.trailers)
        elif not self._paused:
            self._watch_answer()

    def _take_tunnel(self, receiver: AnswerReceiver, answer: Answer) -> None:
        if not self._upgrade or not answer.upgrades:
            raise BadHead(HeadProblem.SYNTAX)
        self._awaits_head = False
        self._body = CloseReader()
        self._tunnel = True
        self._request_ended = False  # the visitor's bytes go on
        receiver.answer_tunnel(answer)

    def _take_interim(self, receiver: AnswerReceiver, answer: Answer) -> None:
        self._interim_left -= 1
        if not self._interim_left:
            raise BadHead(HeadProblem.SYNTAX)
        receiver.answer_interim(answer)

    def _finish(self, receiver: AnswerReceiver, surplus: bytes, trailers: Trailers) -> None:
        self._let_go(surplus)
        receiver.answer_end(trailers)

    def _let_go(self, surplus: bytes) -> None:
        """Give the connection back: the answer is complete."""
        self._receiver = None
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        # Bytes after the answer would be taken for the next one, and they are not.
        reusable = self._keep_alive and self._request_ended and not surplus and not self._closing
        self.used = True
        self._pool.release(self, reusable=reusable)
        if not reusable:
            self.close()

    def _fail(self, receiver: AnswerReceiver, reason: Reason) -> None:
        self.abandon()
        receiver.origin_failed(reason, silent=False)
