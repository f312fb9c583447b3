"""One connection to an origin: HTTP/1.1 as a client, one exchange after the other.

States: connecting -> ready -> (begin) busy -> (answer ends) idle in the pool -> busy ... -> closed.
While busy there is a receiver, which is told everything and, last, exactly one of ``answer_end``
and ``origin_failed``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from typing import Protocol as Interface

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.framing import (
    CHUNKED,
    LAST_CHUNK,
    UNTIL_CLOSE,
    BadBody,
    BodyReader,
    CloseReader,
    chunk,
    reader_for,
)
from watchducks.proxy.headers import connection_options
from watchducks.proxy.heads import AnswerHeadReader, BadHead, Fields, HeadProblem

if TYPE_CHECKING:
    from watchducks.proxy.pool import OriginPool

# Interim answers (103, 102, 100) before one answer: more than a handful is an origin gone wrong.
MAX_INTERIM_ANSWERS: Final = 16
_MAX_LENGTH_DIGITS: Final = 18


@dataclass(slots=True)
class Answer:
    """The head of an answer.

    :ivar minor: HTTP/1.minor. :ivar fields: as they were sent.
    :ivar options: what its Connection fields name, lower-case.
    :ivar length: of the body that follows: bytes, 0 for none, CHUNKED or UNTIL_CLOSE.
    """

    status: int
    phrase: bytes
    minor: int
    fields: Fields
    options: frozenset[bytes]
    length: int

    @property
    def keep_alive(self) -> bool:
        """Whether the origin will take another request on this connection."""
        if self.length == UNTIL_CLOSE or b"close" in self.options:
            return False
        return self.minor == 1 or b"keep-alive" in self.options


def read_answer(head: AnswerHeadReader, *, to_head: bool) -> Answer:
    """Make an answer of a complete head (RFC 9112 section 6.3).

    :param to_head: it answers a HEAD request.
    :raises BadHead: how long its body is can be understood in two ways.
    """
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection: list[bytes] = []
    for name, value in head.fields:
        lower = name.lower()
        if lower == b"content-length":
            lengths.append(value.strip(b" \t"))
        elif lower == b"transfer-encoding":
            codings.append(value.strip(b" \t").lower())
        elif lower == b"connection":
            connection.append(value)
    length = UNTIL_CLOSE
    if codings:
        if lengths or codings != [b"chunked"] or head.minor == 0:
            raise BadHead(HeadProblem.SYNTAX)
        length = CHUNKED
    elif lengths:
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > _MAX_LENGTH_DIGITS:
            raise BadHead(HeadProblem.SYNTAX)
        length = int(lengths[0])
    if to_head or head.status < 200 or head.status in (204, 304):
        length = 0
    options = connection_options(connection) if connection else frozenset()
    return Answer(head.status, head.phrase, head.minor, head.fields, options, length)


class AnswerReceiver(Interface):
    """Who asked: the exchange. Nothing is called any more after the last two, or after
    :meth:`OriginConnection.abandon`."""

    def answer_interim(self, answer: Answer) -> None:
        """1xx."""

    def answer_head(self, answer: Answer) -> None:
        """The final answer begins."""

    def answer_body(self, data: bytes) -> None:
        """Some of its body; not empty."""

    def answer_end(self) -> None:
        """It is complete. The connection is not the receiver's any more."""

    def origin_failed(self, reason: Reason, *, silent: bool) -> None:
        """It will not be completed. ``silent``: the origin closed without answering one byte."""

    def pause_request(self) -> None:
        """The origin takes no more of the request's body for now."""

    def resume_request(self) -> None:
        """It does again."""


@implementer(IPushProducer, IHandshakeListener)
class OriginConnection(Protocol):
    """Made and owned by its :class:`~watchducks.proxy.pool.OriginPool`; lent to one exchange.

    :ivar ready: fires once requests may be sent, or with :class:`OriginFailure`.
    :ivar idle_since: when its last exchange ended, by the pool's clock.
    :ivar used: whether it has carried an exchange before the present one.
    """

    transport: Any  # TCP or TLS: Twisted has no common interface with all that both offer

    def __init__(self, pool: OriginPool, *, tls: bool) -> None:
        self.ready: Deferred[None] = Deferred()
        self.idle_since = 0.0
        self.used = False
        self._pool = pool
        self._limits = pool.limits
        self._deadlines = pool.deadlines
        self._tls = tls
        self._is_ready = False
        self._closing = False
        self._receiver: AnswerReceiver | None = None
        self._silent = True
        self._paused = False
        self._to_head = False
        self._chunked = False
        self._request_ended = True
        self._interim_left = 0
        self._head: AnswerHeadReader | None = None
        self._body: BodyReader | None = None
        self._keep_alive = False

    # --- the connection ---

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        if not self._tls:
            self._made_ready()

    def handshakeCompleted(self) -> None:
        """The origin's certificate is verified: Twisted ends the handshake of one that is not."""
        self._made_ready()

    def _made_ready(self) -> None:
        self._is_ready = True
        self.ready.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._deadlines.clear(self)
        if not self._is_ready:
            bad_tls = reason.check(SSL.Error, VerificationError) is not None
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
            receiver.answer_end()
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
        elif not self._request_ended:
            self._fail(receiver, Reason.ORIGIN_STALLED)
        elif self._head is not None:
            self._fail(receiver, Reason.FIRST_BYTE_TIMEOUT)
        else:
            self._fail(receiver, Reason.ANSWER_TIMEOUT)

    # --- the request ---

    def begin(self, receiver: AnswerReceiver, head: bytes, length: int, *, to_head: bool) -> None:
        """Send the head of a request; its body follows by :meth:`send_body` if ``length`` is not 0.

        :param head: complete, with the empty line.
        :param to_head: the method is HEAD.
        """
        self._receiver = receiver
        self._to_head = to_head
        self._chunked = length == CHUNKED
        self._request_ended = length == 0
        self._silent = True
        self._interim_left = MAX_INTERIM_ANSWERS
        self._body = None
        self._keep_alive = False
        self._head = self._new_head()
        if length == 0:
            self._deadlines.set(self, self._limits.first_byte_seconds)
        self.transport.write(head)

    def send_body(self, data: bytes) -> None:
        """Send some of the body (not empty), framed as :meth:`begin` said."""
        self.transport.write(chunk(data) if self._chunked else data)

    def end_body(self) -> None:
        """The body is complete."""
        self._request_ended = True
        if self._chunked:
            self.transport.write(LAST_CHUNK)
        if self._head is not None:
            self._deadlines.set(self, self._limits.first_byte_seconds)

    def abandon(self) -> None:
        """End the exchange in its middle: nobody waits for it. The receiver hears no more."""
        self._receiver = None
        self._pool.release(self, reusable=False)
        self.abort()

    # The transport's view of us: the source of what it sends.

    def pauseProducing(self) -> None:
        receiver = self._receiver
        if receiver is not None and not self._request_ended:
            self._deadlines.set(self, self._limits.origin_stalled_seconds)
            receiver.pause_request()

    def resumeProducing(self) -> None:
        receiver = self._receiver
        if receiver is not None and not self._request_ended:
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
        self._deadlines.set(self, self._limits.answer_idle_seconds)
        self.transport.resumeProducing()

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
        while self._head is not None:
            rest = self._head.feed(data)
            if rest is None:
                return
            answer = read_answer(self._head, to_head=self._to_head)
            data = rest
            if answer.status < 200:
                self._take_interim(receiver, answer)
            else:
                self._head = None
                self._keep_alive = answer.keep_alive
                self._body = reader_for(answer.length)
                receiver.answer_head(answer)
            if self._receiver is not receiver:
                return
            if not data and self._head is not None:
                return
        body = self._body
        if body is None:
            self._finish(receiver, data)
            return
        if data:
            part, data = body.read(data)
            if part:
                receiver.answer_body(part)
                if self._receiver is not receiver:
                    return
        if body.done:
            self._finish(receiver, data)
        elif not self._paused:
            self._deadlines.set(self, self._limits.answer_idle_seconds)

    def _take_interim(self, receiver: AnswerReceiver, answer: Answer) -> None:
        self._interim_left -= 1
        # We never ask for another protocol, so 101 answers nothing.
        if answer.status == 101 or not self._interim_left:
            raise BadHead(HeadProblem.SYNTAX)
        self._head = self._new_head()
        receiver.answer_interim(answer)

    def _new_head(self) -> AnswerHeadReader:
        return AnswerHeadReader(self._limits.answer_head_bytes, self._limits.answer_head_fields)

    def _finish(self, receiver: AnswerReceiver, surplus: bytes) -> None:
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
        receiver.answer_end()

    def _fail(self, receiver: AnswerReceiver, reason: Reason) -> None:
        self.abandon()
        receiver.origin_failed(reason, silent=False)
