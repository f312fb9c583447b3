"""One exchange: a visitor's request, the origin's answer, and exactly one row.

States, each left once::

    routing -> connecting -> waiting for the answer -> answering | tunnel -> over
       |           |  ^            |                       |
       |           |  +-- retry ---+ (a kept connection    |
       |           |                  that was dead)       |
       +-----------+---------------+-----------------------+--> over, with an answer of ours,
                                                                or cut short

Nothing here knows how the visitor's bytes look: HTTP/1.1 (:mod:`.http1`) is one visitor's side.
"""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from watchducks.model.routing import Route
from watchducks.model.rows import ANSWERED, Row
from watchducks.proxy.answer import Answer
from watchducks.proxy.context import CHALLENGE_PATH, HEALTH_PATH, ProxyContext
from watchducks.proxy.errors import (
    STATUS_VISITOR_LEFT,
    OriginFailure,
    Reason,
    answer_of,
)
from watchducks.proxy.framing import Trailers
from watchducks.proxy.headers import (
    hsts_line,
    interim_to_visitor,
    origin_head,
    request_id_line,
    trailers_to_pass,
    tunnel_to_visitor,
)
from watchducks.proxy.origin import OriginConnection
from watchducks.proxy.pool import OriginPool
from watchducks.proxy.redirect import is_redirected, redirect_of
from watchducks.proxy.request import Request
from watchducks.proxy.visitor import VisitorSide
from watchducks.proxy.websocket import with_key
from watchducks.routes import UNKNOWN

_log = Logger()


class Exchange:
    """Started by the visitor's side, which owns it until it calls ``end_answer`` or
    ``abort_answer``, or has called :meth:`visitor_left`."""

    __slots__ = (
        "_begun",
        "_clock_began",
        "_connection",
        "_context",
        "_handed",
        "_leasing",
        "_left",
        "_looking_up",
        "_origin_us",
        "_over",
        "_request",
        "_request_bytes",
        "_request_id",
        "_response_bytes",
        "_retried",
        "_route",
        "_status",
        "_traits",
        "_tunnel",
        "_uploading",
        "_visitor",
    )

    def __init__(
        self,
        context: ProxyContext,
        visitor: VisitorSide,
        request: Request,
        clock_began: float,
    ) -> None:
        """:param clock_began: when its first byte was read, by the context's clock."""
        self._context = context
        self._visitor = visitor
        self._request = request
        self._clock_began = clock_began
        self._request_id = context.new_request_id()
        self._route: Route | None = None
        self._connection: OriginConnection | None = None
        self._looking_up = False
        self._leasing: OriginPool | None = None
        self._uploading: OriginPool | None = None
        self._left: Reason | None = None
        self._over = False
        self._begun = False
        self._retried = False
        self._tunnel = False
        self._status = 0
        self._traits = request.traits
        self._handed = 0.0
        self._origin_us = 0
        self._request_bytes = 0
        self._response_bytes = 0

    # --- routing ---

    def start(self) -> None:
        """Begin. The answer may come in this call."""
        context, request = self._context, self._request
        if request.target.startswith(HEALTH_PATH) and request.path == HEALTH_PATH:
            self._answer_health()
            return
        if context.challenges is not None and request.target.startswith(CHALLENGE_PATH):
            token = request.path.removeprefix(CHALLENGE_PATH).decode("latin-1")
            page = context.challenges.page(request.host, token)
            if page is not None:  # otherwise it is one of the origin's own
                self._answer_page(200, b"OK", b"application/octet-stream", page.encode())
                return
        route = context.routes.known(request.host)
        if context.rates is not None and not context.rates.allows(self._visitor.address):
            self._route = route if isinstance(route, Route) else None
            self._refuse(Reason.TOO_MANY_REQUESTS)
            return
        if route is UNKNOWN:
            self._looking_up = True
            context.tasks.start(self._look_up(), "a look-up")
        else:
            self._routed(route)

    async def _look_up(self) -> None:
        # Never cancelled: others may wait for the same look-up.
        try:
            route = await self._context.routes.look_up(self._request.host)
        except CancelledError:
            self._refuse(Reason.STOPPING)
            raise
        except Exception as error:
            _log.warn(
                "{host} could not be looked up: {error}", host=self._request.host, error=error
            )
            self._looking_up = False
            self._refuse(Reason.LOOK_UP_FAILED)
            return
        self._looking_up = False
        self._routed(route)

    def _routed(self, route: Route | None) -> None:
        self._route = route
        if self._left is not None:
            self._end(STATUS_VISITOR_LEFT, self._left)
        elif route is None:
            self._refuse(Reason.UNKNOWN_SITE)
        elif not self._visitor.covers(self._request.host):
            self._refuse(Reason.MISDIRECTED)
        elif self._request.method == b"TRACE":
            self._refuse(Reason.METHOD_REFUSED)  # it would show our fields to scripts
        elif self._request.looped:
            self._refuse(Reason.LOOP)
        elif (
            route.choices.redirect_to_https
            and self._visitor.scheme == "http"
            and is_redirected(self._request)
        ):
            redirect = redirect_of(self._request, self._request_id, self._context.wall())
            self._reply(*redirect, Reason.REDIRECTED)
        else:
            self._connect(route)

    # --- the origin ---

    def _connect(self, route: Route) -> None:
        pool = self._context.pools.of(route, self._visitor.scheme)
        if self._request.length:
            if not pool.begin_upload(self):
                self._refuse(Reason.OVERLOADED)
                return
            self._uploading = pool
        if not self._retried:
            connection = pool.take(replayable=self._request.replayable)
            if connection is not None:
                self._send(connection)
                return
        self._context.tasks.start(self._lease(pool), "connecting to an origin")

    async def _lease(self, pool: OriginPool) -> None:
        self._leasing = pool
        try:
            connection = await pool.lease(
                self, replayable=self._request.replayable, new=self._retried
            )
        except OriginFailure as failure:
            self._refuse(failure.reason)
            return
        except CancelledError:
            if self._leasing is not None:  # otherwise it was given up
                self._refuse(Reason.STOPPING)
            raise
        finally:
            self._leasing = None
        if self._over:  # the visitor left meanwhile; the next one will be glad of the connection
            pool.release(connection, reusable=True)
        else:
            self._send(connection)

    def _send(self, connection: OriginConnection) -> None:
        request, visitor = self._request, self._visitor
        self._connection = connection
        self._handed = self._context.clock.seconds()
        if request.upgrade and visitor.protocol != "HTTP/1.1":
            request = replace(request, fields=with_key(request.fields))
        lines = request.lines(visitor.about, visitor.protocol)
        connection.begin(
            self,
            origin_head(request.method, request.target, lines, self._request_id),
            request.length,
            to_head=request.method == b"HEAD",
            upgrade=request.upgrade != b"",
        )
        if request.length:
            visitor.resume_request()

    def answer_interim(self, answer: Answer) -> None:
        if self._request.minor:  # 1.0 knows no interim answers
            lines = interim_to_visitor(answer.fields, answer.options)
            self._visitor.send_interim(answer.status, answer.phrase, lines)

    def answer_head(self, answer: Answer) -> None:
        self._origin_us = self._us_since(self._handed)
        self._begun = True
        self._status = answer.status
        self._traits |= answer.traits
        self._visitor.begin_answer(
            answer.status, answer.phrase, self._lines_of(answer), answer.length
        )

    def _lines_of(self, answer: Answer) -> list[bytes]:
        lines = answer.lines(
            trailers=self._request.trailers,
            hsts_seconds=self._hsts_seconds,
        )
        return [lines, request_id_line(self._request_id)]

    def answer_whole(self, answer: Answer, body: bytes) -> None:
        """The final answer, at once: answer_head, answer_body and answer_end in one."""
        self._connection = None
        self._origin_us = self._us_since(self._handed)
        self._response_bytes = len(body)
        self._traits |= answer.traits
        self._end(answer.status, ANSWERED)
        self._visitor.whole_answer(answer.status, answer.phrase, self._lines_of(answer), body)

    def answer_tunnel(self, answer: Answer) -> None:
        self._origin_us = self._us_since(self._handed)
        self._begun = self._tunnel = True
        by_upgrade = self._visitor.protocol == "HTTP/1.1"
        # RFC 8441 section 5: an extended CONNECT has no key, and 200 says yes.
        status, phrase = (answer.status, answer.phrase) if by_upgrade else (200, b"OK")
        self._status = status
        lines = tunnel_to_visitor(
            answer.fields, answer.options, self._request_id, with_accept=by_upgrade
        )
        self._visitor.begin_tunnel(status, phrase, lines)

    def answer_body(self, data: bytes) -> None:
        self._response_bytes += len(data)
        self._visitor.send_body(data)

    def answer_end(self, trailers: Trailers) -> None:
        self._connection = None
        self._end(self._status, ANSWERED)
        if trailers and self._request.trailers:
            passed = trailers_to_pass(trailers)
            if passed:
                self._visitor.send_trailers(passed)
        self._visitor.end_answer()

    def origin_failed(self, reason: Reason, *, silent: bool) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        if self._begun:
            self._end(self._status, reason)
            self._visitor.abort_answer()
        elif silent and connection.used and not self._retried and self._request.replayable:
            # It was closed while idle, and we could not have known: once more, on a new one.
            assert self._route is not None
            self._retried = True
            self._connect(self._route)
        else:
            self._refuse(reason)

    def pause_request(self) -> None:
        self._visitor.pause_request()

    def resume_request(self) -> None:
        self._visitor.resume_request()

    # --- the visitor ---

    def request_body(self, data: bytes) -> None:
        """Some of the request's body (not empty)."""
        self._request_bytes += len(data)
        if self._connection is not None:
            self._connection.send_body(data)

    def request_end(self, trailers: Trailers = ()) -> None:
        """The request's body is complete, or the visitor sends no more through the tunnel. Not
        called for a request without a body."""
        if self._uploading is not None:
            self._uploading.end_upload(self)
        if self._connection is not None:
            self._connection.end_body(trailers_to_pass(trailers) if trailers else ())

    def request_failed(self, reason: Reason) -> None:
        """The request's body is badly framed, or does not come. The visitor is still there."""
        self._abandon()
        if self._begun:
            self._end(self._status, reason)
            self._visitor.abort_answer()
        else:
            self._refuse(reason)

    def visitor_left(self, reason: Reason = Reason.VISITOR_LEFT) -> None:
        """The visitor is gone; nothing more can be sent to him."""
        self._left = reason
        if self._looking_up:
            return  # it tells for which site the row is
        self._abandon()
        self._end(self._status if self._begun else STATUS_VISITOR_LEFT, reason)

    def tunnel_closed(self) -> None:
        """The visitor closed the tunnel as one does; nothing more can be sent to him."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave_tunnel()
        self._end(self._status, ANSWERED)

    def pause_answer(self) -> None:
        """The visitor does not take more for now."""
        if self._connection is not None:
            self._connection.pause_answer()

    def resume_answer(self) -> None:
        """He does again."""
        if self._connection is not None:
            self._connection.resume_answer()

    # --- the end ---

    def _abandon(self) -> None:
        connection, self._connection = self._connection, None
        leasing, self._leasing = self._leasing, None
        if connection is not None:
            connection.abandon()
        elif leasing is not None:
            leasing.leave_line(self)

    def _answer_health(self) -> None:
        status, phrase, body = self._context.health()
        self._answer_page(status, phrase, b"application/json", body)

    def _answer_page(self, status: int, phrase: bytes, media_type: bytes, body: bytes) -> None:
        lines = [
            b"Content-Type: %b\r\nCache-Control: no-store\r\n" % media_type,
            b"Content-Length: %d\r\nX-Request-Id: %b\r\n" % (len(body), self._request_id),
        ]
        self._reply(status, phrase, lines, body, ANSWERED)

    def _refuse(self, reason: Reason) -> None:
        """Answer with a page of ours."""
        accepted = b",".join(
            value for name, value in self._request.fields if name.lower() == b"accept-language"
        )
        status, phrase, lines, body = answer_of(
            reason, self._request_id, accepted, self._context.wall()
        )
        if self._route is not None and self._hsts_seconds:
            lines.append(hsts_line(self._hsts_seconds))
        self._reply(status, phrase, lines, body, reason)

    def _reply(
        self, status: int, phrase: bytes, lines: list[bytes], body: bytes, reason: str
    ) -> None:
        if self._left is not None:
            self._end(STATUS_VISITOR_LEFT, self._left)
            return
        if self._request.method == b"HEAD":
            body = b""
        self._response_bytes = len(body)
        self._end(status, reason)
        self._visitor.whole_answer(status, phrase, lines, body)

    @property
    def _hsts_seconds(self) -> int:
        """What the site has chosen; 0 where browsers must not believe it (RFC 6797 section 7.2)."""
        route = self._route
        if route is None or self._visitor.scheme == "http":
            return 0
        return route.choices.hsts_seconds

    def _us_since(self, began: float) -> int:
        return max(0, int((self._context.clock.seconds() - began) * 1_000_000))

    def _end(self, status: int, reason: str) -> None:
        """Leave the row; an exchange that no site is known for leaves none."""
        route, request = self._route, self._request
        if self._over:
            return
        self._over = True
        if self._uploading is not None:
            self._uploading.end_upload(self)
        if route is not None:
            path, _, query = request.target.partition(b"?")
            self._context.sink.record(
                Row(
                    int(self._context.wall() * 1_000_000),
                    route.site_id,
                    "request",
                    self._visitor.scheme,
                    self._visitor.protocol,
                    request.method.decode("ascii"),
                    request.host,
                    path.decode("utf-8", "replace"),
                    status,
                    str(reason),
                    self._visitor.address,
                    request.user_agent.decode("utf-8", "replace"),
                    request.referrer.decode("utf-8", "replace"),
                    self._request_bytes,
                    self._response_bytes,
                    self._us_since(self._clock_began),
                    self._origin_us,
                    query.decode("utf-8", "replace"),
                    self._traits,
                )
            )
