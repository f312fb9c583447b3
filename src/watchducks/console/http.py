"""HTTP as the console speaks it: bounded requests, protective headers, known hosts only.

What is here runs for every request, before Klein looks for a route and whatever route it finds.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from io import BytesIO
from itertools import chain
from typing import Any, Final, cast
from urllib.parse import unquote_to_bytes, urlsplit

from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource, Resource

from watchducks.background import Turns
from watchducks.console.answers import Answers, Prepared, Refusal, not_found
from watchducks.console.headers import header
from watchducks.model.accounts import Viewer
from watchducks.model.problems import Problem

# But for a zone's records, the largest body is a registration: five short fields. 64 KiB leaves
# room for a form filled with nonsense to be answered politely.
MAX_BODY_BYTES: Final = 64 * 1024
# The records of a zone as JSON take up to four times what they take in the registry (256 KiB), and
# so does a zone file in a form, where each blank and semicolon is escaped.
MAX_RECORDS_BYTES: Final = 1024 * 1024
RECORDS_PATHS: Final = (b"/records", b"/records/import")
# Bodies that large at the same time, in all: 16 MiB.
MAX_LARGE_BODIES: Final = 16
# How long the rest of a refused body is read and thrown away. Closing at once would make the
# kernel reset the connection, and the client would never see the 413.
LINGER_SECONDS: Final = 2.0
# A person reads a page for longer than this, but a new connection costs little; an idle one costs
# a file descriptor that the proxy may need.
IDLE_SECONDS: Final = 30.0

# Scripts and styles come from our own files only; nothing is inline, nothing from elsewhere.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
SECURITY_HEADERS: Final = {
    b"Content-Security-Policy": CONTENT_SECURITY_POLICY.encode(),
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
    b"Referrer-Policy": b"same-origin",
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Permissions-Policy": b"camera=(), geolocation=(), microphone=()",
}

# Where a prober asks by address or by whatever name it likes; nothing there depends on the host.
_ANY_HOST_PATHS: Final = frozenset({b"/healthz", b"/readyz"})


class ConsoleRequest(server.Request):
    """A request whose body is bounded and kept in memory, and whose cookies are SameSite."""

    defaultContentType = b"text/plain; charset=utf-8"
    site: ConsoleSite
    # Who asks, once somebody has looked (console.access).
    viewer: Viewer | None = None
    # What was answered.
    prepared: Prepared | None = None

    _refused = False
    _linger: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        """The headers are read. :param length: of the body, or None when it comes in chunks."""
        self.content = BytesIO()
        self._admit(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        if self._refused or self.content is None:
            return
        if self._admit(self.content.tell() + len(data)):
            self.content.write(data)

    def _admit(self, octets: int) -> bool:
        """Return whether the body may have so many octets; if not, it is refused."""
        if octets <= MAX_BODY_BYTES:
            return True
        self.site = cast(Any, self.channel).site
        # Twisted tells the request its path only when the body is there.
        path = cast(Any, self.channel)._path.partition(b"?")[0]  # noqa: SLF001
        limit = MAX_RECORDS_BYTES if path.endswith(RECORDS_PATHS) else MAX_BODY_BYTES
        if octets > limit:
            problem = Problem(
                "body-too-large", "The request is larger than {limit} bytes.", limit=limit
            )
            self._refuse_body(Refusal(http.REQUEST_ENTITY_TOO_LARGE, problem))
            return False
        if self not in self.site.large and len(self.site.large) >= MAX_LARGE_BODIES:
            problem = Problem("busy", "Too many large requests at once; try again soon.")
            self._refuse_body(
                Refusal(http.SERVICE_UNAVAILABLE, problem, headers={"Retry-After": "5"})
            )
            return False
        self.site.large.add(self)
        return True

    def _refuse_body(self, refusal: Refusal) -> None:
        """Answer now, and forget what still comes."""
        self._refused = True
        self.site.large.discard(self)
        self.content = BytesIO()
        self.clientproto = b"HTTP/1.1"
        self._prepare_headers()
        self.setHeader(b"Connection", b"close")  # type: ignore[no-untyped-call]
        self.write(self.site.answers.refuse(self, refusal))  # type: ignore[no-untyped-call]
        self._linger = self.site.reactor.callLater(LINGER_SECONDS, self.channel.loseConnection)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self._refused:
            self._stop_lingering()
            self.channel.loseConnection()
            return
        super().requestReceived(command, path, version)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:
        self._stop_lingering()
        cast(Any, self.channel).site.large.discard(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _stop_lingering(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()

    def _prepare_headers(self) -> None:
        self.setHeader(b"Date", http.datetimeToString())  # type: ignore[no-untyped-call]
        for name, value in SECURITY_HEADERS.items():
            self.setHeader(name, value)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        """Answer the request. Replaces Twisted's, which names its version to everyone."""
        self.site = cast(Any, self.channel).site
        self.prepath = []
        self.postpath = [unquote_to_bytes(part) for part in self.path[1:].split(b"/")]
        self._prepare_headers()
        self.site.busy.add(self)
        # On a connection that is lost this Deferred fails, which is nobody's concern here.
        _ = self.notifyFinish().addBoth(lambda _: self._done())
        # Of many that come at once each has a turn of the reactor: visitors come between them.
        self.site.turns.call(self._begin)

    def _begin(self) -> None:
        if not self.is_over:
            self.render(self.site.resource)  # type: ignore[no-untyped-call]

    @property
    def is_over(self) -> bool:
        """Whether it is answered, or nobody waits for an answer any more."""
        return bool(self.finished or self._disconnected)

    def _done(self) -> None:
        self.site.busy.discard(self)
        self.site.large.discard(self)

    def getRequestHostname(self) -> bytes:
        """Return the console's own name: what a visitor claims never gets into a link."""
        return self.site.host.encode("ascii")

    def addCookie(  # type: ignore[override]
        self,
        k: bytes | str,
        v: bytes | str,
        *,
        path: bytes | str = "/",
        max_age: str | None = None,
        domain: bytes | None = None,
        secure: bool = False,
        httpOnly: bool = True,
    ) -> None:
        """Set a cookie that is not sent along with requests that another site starts."""
        super().addCookie(  # type: ignore[no-untyped-call]
            k,
            v,
            path=path,
            max_age=max_age,
            domain=domain,
            secure=secure or self.site.secure,
            httpOnly=httpOnly,
            sameSite="lax",
        )

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer with a page of ours; the traceback goes to the log only."""
        if not self.finished and not self._disconnected:
            body = self.site.answers.refuse(self, reason.value)
            self.write(body)  # type: ignore[no-untyped-call]
            self.finish()  # type: ignore[no-untyped-call]
        return reason


class ConsoleSite(server.Site):
    """The factory of the console's connections.

    :param url: ``settings.console.url``: how people reach the console.
    """

    noisy = False
    requestFactory = ConsoleRequest

    def __init__(
        self,
        resource: IResource,
        answers: Answers,
        url: str,
        turns: Turns,
        *,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            resource, reactor=reactor, timeout=IDLE_SECONDS, parsePOSTFormSubmission=False
        )
        self.answers = answers
        self.turns = turns
        # Requests under way, for a stop that lets them finish.
        self.busy: set[ConsoleRequest] = set()
        # Those whose body is larger than MAX_BODY_BYTES.
        self.large: set[ConsoleRequest] = set()
        parts = urlsplit(url)
        self.host = (parts.hostname or "localhost").encode("idna").decode("ascii")
        # Behind a proxy that terminates TLS we are asked by http, and cookies are still Secure.
        self.secure = parts.scheme == "https"

    def log(self, request: http.Request) -> None:
        """Write no access log: an open site page asks every second, and would drown the rest."""


class Front(Resource):
    """The root: refuses what no page should see, then passes on to the one who answers.

    :param choose: path -> who answers it.
    """

    isLeaf = True

    def __init__(self, answers: Answers, choose: Callable[[bytes], IResource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._answers = answers
        self._choose = choose

    def render(self, request: ConsoleRequest) -> int:
        try:
            check_host(request.path, header(request, b"host"), request.site.host)
            _check_path(request.path)
            _check_text(request)
        except Refusal as refusal:
            return self._answers.deliver(request, refusal)
        # Klein and Assets write by themselves.
        return cast(int, self._choose(request.path).render(request))


def check_host(path: bytes, host_header: str, own_host: str) -> None:
    """Refuse names that are not ours.

    A page of somebody else's, whose name he lets point to this machine (DNS rebinding), could
    otherwise read the console from inside the owner's network. Addresses cannot be rebound.

    :raises Refusal: 400 without a readable host, 421 for a wrong one.
    """
    if path in _ANY_HOST_PATHS:
        return
    try:
        host = urlsplit("//" + host_header).hostname or ""
    except ValueError:
        host = ""
    if not host:
        raise Refusal(http.BAD_REQUEST, Problem("host", "The request names no host."))
    if host.rstrip(".") in (own_host, "localhost"):
        return
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise Refusal(
            421, Problem("wrong-host", "This console does not answer for {host}.", host=host[:253])
        ) from None


def _check_path(path: bytes) -> None:
    """Refuse what is no path of ours: ``*``, and ``//x``, which as a link would lead to host x."""
    if not path.startswith(b"/") or path.startswith(b"//"):
        raise not_found()


def _check_text(request: ConsoleRequest) -> None:
    """Refuse a path or query that is not UTF-8 text, so that no page has to."""
    try:
        arguments = chain.from_iterable(request.args.values())
        for part in chain(request.postpath or (), request.args, arguments):
            if "\0" in part.decode("utf-8"):
                raise ValueError("NUL")
    except ValueError:
        raise Refusal(
            http.BAD_REQUEST, Problem("encoding", "The address is not readable as UTF-8 text.")
        ) from None


def is_local(request: http.Request) -> bool:
    """Tell whether who asks is on this very host, and asks for nobody elsewhere."""
    address: Any = request.getClientAddress()
    if header(request, b"x-forwarded-for") or header(request, b"forwarded"):
        return False
    if isinstance(address, UNIXAddress):
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except (AttributeError, ValueError):
        return False


def argument(request: http.Request, name: bytes) -> str | None:
    """Return the query's argument ``name``, the last if it is there twice; None without one."""
    values = request.args.get(name)
    return values[-1].decode("utf-8") if values else None
