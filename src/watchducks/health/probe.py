"""One probe: one GET on a connection of its own, and what came of it in a few words."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final, Protocol

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.error import TimeoutError as ConnectTimeout
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

# Our own health answer is some hundred octets. More than this is another server's page, and a
# probe must not become a download.
MAX_BODY_OCTETS: Final = 65_536

_HEADERS: Final = Headers({"Connection": ["close"]})


class ProbeFailed(Exception):
    """The proxy did not prove that it can serve; the text says why in a few words."""


class Probe(Protocol):
    """Asks one URL once."""

    def __call__(self, url: str) -> Awaitable[None]:
        """Return within the probe's own time limit if the answer is good. :raises ProbeFailed:"""


class _QuietFactory(_HTTP11ClientFactory):
    """Twisted's own, without its two lines in the log for each probe."""

    noisy = False


class _QuietPool(HTTPConnectionPool):
    _factory = _QuietFactory


class HttpProbe:
    """GET over a connection of its own: status 200 and a whole body within the time limit.

    A kept connection would prove that an old connection lives, not that a visitor can make a new
    one. Redirects are not followed: a proxy that redirects its health page is not ours.
    """

    def __init__(self, timeout_seconds: float, *, reactor: Any) -> None:
        """:param reactor: provides IReactorTCP (or endpoints for it) and IReactorTime."""
        self._timeout = timeout_seconds
        self._reactor = reactor
        self._client = HTTPClient(
            Agent(
                reactor,
                connectTimeout=timeout_seconds,
                pool=_QuietPool(reactor, persistent=False),  # type: ignore[no-untyped-call]
            )
        )

    async def __call__(self, url: str) -> None:
        asking: Deferred[None] = Deferred.fromCoroutine(self._ask(url))
        _ = asking.addTimeout(self._timeout, self._reactor)
        try:
            await asking
        except (DeferredTimeout, ConnectTimeout):
            raise ProbeFailed(f"no answer within {self._timeout:g} s") from None
        except (CancelledError, ProbeFailed):
            raise
        except Refused:
            raise ProbeFailed("connection refused") from None
        except Exception as error:
            raise ProbeFailed(_words(error)) from error

    async def _ask(self, url: str) -> None:
        try:
            response = await self._client.get(
                url, allow_redirects=False, unbuffered=True, headers=_HEADERS
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
        if response.code != 200:
            raise ProbeFailed(f"status {response.code}")


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
            self.finished.errback(ProbeFailed(f"a body of more than {MAX_BODY_OCTETS} octets"))
            self._lose_connection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return
        # PotentialDataLoss: the end of the connection is the end of the body, as in HTTP/1.0.
        if reason.check(ResponseDone, PotentialDataLoss) is not None:
            self.finished.callback(None)
        else:
            self.finished.errback(reason)


def _words(error: Exception) -> str:
    if isinstance(error, ResponseFailed) and error.reasons:
        return f"the answer broke off: {error.reasons[0].getErrorMessage()}"
    return str(error) or type(error).__name__
