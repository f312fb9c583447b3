"""One probe: one GET on a connection of its own, and what came of it in a few words.

By https the connection and the TLS handshake have to succeed, but the certificate is not judged:
the probe comes by address, where the proxy has none but its default one, and what it asks is "can
a visitor be served", not "is it you".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from OpenSSL import SSL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
    _HTTP11ClientFactory,  # no public name lets us quiet it
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IPolicyForHTTPS
from zope.interface import implementer

from watchducks.background import together

# Our own health answer is some hundred octets. More than this is another server's page, and a
# probe must not become a download.
MAX_BODY_OCTETS: Final = 65_536

_HEADERS: Final = Headers({"Connection": ["close"]})


class ProbeFailed(Exception):
    """Who was asked did not prove that he can serve; the text says why in a few words.

    :ivar template: the text, with ``{name}`` places, so that it can be translated.
    :ivar parameters: what belongs in these places.
    """

    def __init__(self, template: str, /, **parameters: str | int) -> None:
        super().__init__(template.format(**parameters))
        self.template = template
        self.parameters = parameters


class Probe(Protocol):
    """Asks one URL once."""

    def __call__(self, url: str) -> Awaitable[None]:
        """Return within the probe's own time limit if the answer is good. :raises ProbeFailed:"""


class _QuietFactory(_HTTP11ClientFactory):
    """Twisted's own, without its two lines in the log for each probe."""

    noisy = False


class _QuietPool(HTTPConnectionPool):
    _factory = _QuietFactory


@implementer(IOpenSSLClientConnectionCreator)
class AnyCertificate:
    """A TLS handshake with whoever answers; ``server_name`` is sent unless it is empty."""

    def __init__(self, server_name: bytes = b"") -> None:
        self._server_name = server_name

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: ARG002
        connection = SSL.Connection(_ANY_CERTIFICATE, None)
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name)
        return connection


_ANY_CERTIFICATE: Final = SSL.Context(SSL.TLS_CLIENT_METHOD)
_ANY_CERTIFICATE.set_verify(SSL.VERIFY_NONE)


@implementer(IPolicyForHTTPS)
class _AnyCertificatePolicy:
    def creatorForNetloc(self, hostname: bytes, port: int) -> AnyCertificate:  # noqa: ARG002
        return AnyCertificate()  # hosts of health URLs are addresses, which are no server names


def agent_for_addresses(timeout_seconds: float, *, reactor: Any) -> IAgent:
    """Return what connects to the address in a URL: a new connection each time, any certificate."""
    agent: IAgent = Agent(
        reactor,
        contextFactory=_AnyCertificatePolicy(),
        connectTimeout=timeout_seconds,
        pool=quiet_pool(reactor),
    )
    return agent


def quiet_pool(reactor: Any) -> HTTPConnectionPool:
    """Return a pool that keeps nothing: a kept connection would prove that an old one lives, not
    that a visitor can make a new one."""
    return _QuietPool(reactor, persistent=False)  # type: ignore[no-untyped-call]


class HttpProbe:
    """GET: status 200 and a whole body within the time limit.

    Redirects are not followed: a proxy that redirects its health page is not ours.
    """

    def __init__(
        self,
        timeout_seconds: float,
        *,
        reactor: Any,
        agent: IAgent | None = None,
        method: str = "GET",
        accepted: Callable[[int], bool] = lambda status: status == 200,
    ) -> None:
        """
        :param reactor: provides IReactorTCP (or endpoints for it) and IReactorTime.
        :param agent: None: see :func:`agent_for_addresses`.
        :param accepted: which status is good.
        """
        self._timeout = timeout_seconds
        self._reactor = reactor
        self._method = method
        self._accepted = accepted
        self._client = HTTPClient(agent or agent_for_addresses(timeout_seconds, reactor=reactor))

    async def __call__(self, url: str) -> None:
        """See :class:`Probe`."""
        _ = await self.status(url)

    async def status(self, url: str) -> int:
        """Return the status of a good answer. :raises ProbeFailed:"""
        asking: Deferred[int] = Deferred.fromCoroutine(self._ask(url))
        _ = asking.addTimeout(self._timeout, self._reactor)
        try:
            return await asking
        except (DeferredTimeout, ConnectTimeout):
            raise ProbeFailed(
                "no answer within {seconds} s", seconds=f"{self._timeout:g}"
            ) from None
        except (CancelledError, ProbeFailed):
            raise
        except Refused:
            raise ProbeFailed("connection refused") from None
        except Exception as error:
            raise _broken(error) from error

    async def _ask(self, url: str) -> int:
        try:
            response = await self._client.request(
                self._method, url, allow_redirects=False, unbuffered=True, headers=_HEADERS
            )
        except ResponseFailed as failed:
            # The Agent wraps a cancellation, the time limit's or stop()'s, into a failure of the
            # response; unwrapped, it is not taken for the proxy's doing.
            if any(reason.check(CancelledError) for reason in failed.reasons):
                raise CancelledError from None
            raise
        body = _Body()
        response.deliverBody(body)
        await body.finished
        if not self._accepted(response.code):
            raise ProbeFailed("status {status}", status=response.code)
        return int(response.code)


async def probe_all(probe: Probe, urls: Sequence[str]) -> None:
    """Ask every URL at once; return when all are good.

    :raises ProbeFailed: with the first failure, and its URL's scheme where there are several.
    """
    _ = await together(_asked(probe, url, len(urls) > 1) for url in urls)


async def _asked(probe: Probe, url: str, several: bool) -> None:  # noqa: FBT001
    try:
        await probe(url)
    except ProbeFailed as failed:
        if not several:
            raise
        scheme = url.partition(":")[0]
        raise ProbeFailed("{scheme}: {reason}", scheme=scheme, reason=str(failed)) from failed


class _Body(BodyProtocol):
    """Counts a response's body. ``finished`` may be cancelled, which closes the connection."""

    def __init__(self) -> None:
        self.finished: Deferred[None] = Deferred(self._cancel)
        self._octets = 0

    def _cancel(self, _: Deferred[None]) -> None:
        self._lose_connection()

    def _lose_connection(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > MAX_BODY_OCTETS and not self.finished.called:
            self.finished.errback(
                ProbeFailed("a body of more than {octets} octets", octets=MAX_BODY_OCTETS)
            )
            self._lose_connection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return
        # PotentialDataLoss: the end of the connection is the end of the body, as in HTTP/1.0.
        if reason.check(ResponseDone, PotentialDataLoss) is not None:
            self.finished.callback(None)
        else:
            self.finished.errback(reason)


def _broken(error: Exception) -> ProbeFailed:
    if isinstance(error, ResponseFailed) and error.reasons:
        reason = error.reasons[0].getErrorMessage()
        return ProbeFailed("the answer broke off: {reason}", reason=reason)
    return ProbeFailed("{reason}", reason=str(error) or type(error).__name__)
