"""Signed requests to one authority: its directory, nonces, deadlines and errors (RFC 8555, 6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol as BodyProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse

from watchducks.certificates.acme.errors import AcmeError, Unavailable, problem, retry_after
from watchducks.certificates.acme.libraries import AccountKey, BadToken

# Authorities answer within a second; a busy one takes some for a finalization.
HEAD_SECONDS: Final = 30.0
BODY_SECONDS: Final = 30.0
# A chain of ten with RSA keys of 8192 bits is 30 kB, an order of 100 names 60 kB.
MAX_BODY_OCTETS: Final = 1024 * 1024
# Pebble can be told to refuse half of all nonces: 30 in a row are then one in a billion.
MAX_BAD_NONCES: Final = 30
# As many as requests are under way at once, and some.
MAX_NONCES: Final = 16
# RFC 8555 has no limit; a nonce is 16 to 64 octets everywhere.
MAX_NONCE_CHARACTERS: Final = 512

_JOSE: Final = "application/jose+json"


class Http(Protocol):
    """What carries requests: :class:`.libraries.Transport`."""

    def request(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> Deferred[IResponse]:
        """Fires with the response, its body still to be read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a good status.

    :ivar location: of what was created, or "". :ivar links: relation -> URLs.
    :ivar retry_seconds: when to ask again, if it was said.
    """

    status: int
    body: bytes
    location: str
    links: Mapping[str, tuple[str, ...]]
    retry_seconds: float | None

    def document(self) -> dict[str, Any]:
        """Return the body as JSON.

        :raises Unavailable: it is no JSON object: a broken proxy before the authority, most often.
        """
        found = _json(self.body)
        if not isinstance(found, dict):
            raise Unavailable("the authority's answer is no JSON object")
        return found


class Session:
    """One authority as one account sees it.

    :ivar account: the account's URL, once known; requests then name it instead of the key.
    """

    def __init__(
        self,
        directory_url: str,
        key: AccountKey,
        *,
        http: Http,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param now: gives POSIX seconds."""
        self.key = key
        self.account: str | None = None
        self._directory_url = directory_url
        self._http = http
        self._clock = clock
        self._now = now
        self._directory: Mapping[str, Any] | None = None
        self._nonces: list[str] = []

    async def directory(self) -> Mapping[str, Any]:
        """Return the authority's directory; it is fetched once.

        :raises AcmeError: it cannot be had, or is none.
        """
        if self._directory is None:
            found = (await self.get(self._directory_url)).document()
            for name in ("newNonce", "newAccount", "newOrder"):
                if not isinstance(found.get(name), str):
                    raise AcmeError(f"{self._directory_url} is no ACME directory: no {name}")
            self._directory = found
        return self._directory

    async def get(self, url: str) -> Answer:
        """Ask without a signature: the directory, and renewal information.

        :raises AcmeError: see :func:`.errors.problem`.
        """
        return await self._ask("GET", url, None, {"Accept": "application/json"})

    async def post(
        self,
        url: str,
        payload: Mapping[str, Any] | None,
        *,
        accept: str = "application/json",
        with_key: bool = False,
    ) -> Answer:
        """Send a signed request; a nonce that is refused is replaced.

        :param payload: None: the request only reads (POST-as-GET).
        :param with_key: the key itself signs, not the account.
        :raises AcmeError: see :func:`.errors.problem`.
        """
        text = b"" if payload is None else json.dumps(payload).encode()
        return await self.post_signed(
            url,
            lambda nonce: self.key.sign(
                text, url=url, nonce=nonce, account=None if with_key else self.account
            ),
            accept,
        )

    async def post_signed(
        self, url: str, sign: Callable[[str], bytes], accept: str = "application/json"
    ) -> Answer:
        """Send what ``sign(nonce)`` returns; see :meth:`post`."""
        headers = {"Content-Type": _JOSE, "Accept": accept}
        for _ in range(MAX_BAD_NONCES):
            nonce = self._nonces.pop() if self._nonces else await self._new_nonce()
            try:
                return await self._ask("POST", url, sign(nonce), headers)
            except BadToken:
                continue
            except AcmeError as error:
                if error.kind != "badNonce":
                    raise
        raise Unavailable(f"the authority refused {MAX_BAD_NONCES} nonces of its own")

    async def _new_nonce(self) -> str:
        await self._ask("HEAD", str((await self.directory())["newNonce"]), None, {})
        if not self._nonces:
            raise Unavailable("the authority gives no nonce")
        return self._nonces.pop()

    async def _ask(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        try:
            response = await self._http.request(method, url, data, headers, HEAD_SECONDS)
            body = _Body()
            response.deliverBody(body)
            _ = body.finished.addTimeout(BODY_SECONDS, self._clock)
            content = await body.finished
        except (AcmeError, CancelledError):
            raise
        except DeferredTimeout:
            raise Unavailable(f"{url} does not answer in time") from None
        except ResponseFailed as failed:
            if any(reason.check(CancelledError) for reason in failed.reasons):
                raise CancelledError from None
            raise Unavailable(f"{url} broke off its answer") from failed
        except Exception as error:
            raise Unavailable(
                f"{url} cannot be reached: {str(error) or type(error).__name__}"
            ) from error
        self._keep_nonce(_header(response, "replay-nonce"))
        again = retry_after(_header(response, "retry-after"), self._now())
        if response.code >= 300:
            raise problem(response.code, _json(content), again)
        return Answer(
            response.code,
            content,
            _header(response, "location") or "",
            parse_links(_all_headers(response, "link")),
            again,
        )

    def _keep_nonce(self, nonce: str | None) -> None:
        if nonce and len(nonce) <= MAX_NONCE_CHARACTERS and len(self._nonces) < MAX_NONCES:
            self._nonces.append(nonce)


def parse_links(values: list[str]) -> dict[str, tuple[str, ...]]:
    """Return relation -> targets of Link fields (RFC 8288), as authorities write them."""
    links: dict[str, tuple[str, ...]] = {}
    for link in (part for value in values for part in value.split(",")):
        target, *parameters = (part.strip() for part in link.split(";"))
        for parameter in parameters:
            name, _, relation = parameter.partition("=")
            if name.strip().lower() == "rel" and target.startswith("<") and target.endswith(">"):
                relation = relation.strip().strip('"').lower()
                links[relation] = (*links.get(relation, ()), target[1:-1])
    return links


def _header(response: IResponse, name: str) -> str | None:
    found = _all_headers(response, name)
    return found[0].strip() if found else None


def _all_headers(response: IResponse, name: str) -> list[str]:
    return [value for value in response.headers.getRawHeaders(name, []) if isinstance(value, str)]


def _json(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found


class _Body(BodyProtocol):
    """Collects a body. ``finished`` may be cancelled, which closes the connection."""

    def __init__(self) -> None:
        self.finished: Deferred[bytes] = Deferred(lambda _: self._close())
        self._parts: list[bytes] = []
        self._octets = 0

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets <= MAX_BODY_OCTETS:
            self._parts.append(data)
        elif not self.finished.called:
            self.finished.errback(
                Unavailable(f"an answer of more than {MAX_BODY_OCTETS} octets is no answer")
            )
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.finished.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss) is not None:
            self.finished.callback(b"".join(self._parts))
        else:
            self.finished.errback(reason)
