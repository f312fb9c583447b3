"""Everything that is taken from txacme, acme and josepy; no other module imports them.

txacme's own client speaks a protocol that no authority serves any more. What is used of it: the
interfaces between engine and responders, its HTTP transport, and its certificate requests. acme
has the signatures with RFC 8555's header fields, and the challenges' digests.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from acme.challenges import DNS01, HTTP01
from acme.jws import JWS
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from josepy.jwa import ES256, HS256
from josepy.jwk import JWKEC, JWKOct
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

from watchducks.certificates.board import Board
from watchducks.model.challenges import Challenge

with warnings.catch_warnings():
    # It takes a deprecated name from Twisted; nobody who runs us can do anything about that.
    warnings.filterwarnings("ignore", r"twisted\.python\.compat\.unicode", DeprecationWarning)
    from txacme.client import JWSClient
    from txacme.interfaces import IResponder
    from txacme.util import csr_for_names, encode_csr

__all__ = ["AccountKey", "BadToken", "Responder", "Transport", "certificate_request", "new_key"]

USER_AGENT: Final = b"watchducks"

_CHALLENGES: Final = {"dns-01": DNS01, "http-01": HTTP01}


class BadToken(ValueError):
    """The authority's token or nonce is not base64url."""


class AccountKey:
    """An account's key, ECDSA P-256 as every authority has to accept (ES256)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._jwk = JWKEC(key=key)

    @classmethod
    def generate(cls) -> AccountKey:
        """Return a new key."""
        return cls(new_key())

    @classmethod
    def from_pem(cls, pem: bytes) -> AccountKey:
        """Return the key that :meth:`pem` printed.

        :raises ValueError: it is none.
        """
        key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("an account's key is an ECDSA key")
        return cls(key)

    def pem(self) -> bytes:
        """Return the private key as PEM; a secret."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def public(self) -> dict[str, str]:
        """Return the public key as a JWK."""
        found = self._jwk.public_key().to_json()
        return {str(name): str(value) for name, value in found.items()}

    def sign(self, payload: bytes, *, url: str, nonce: str | None, account: str | None) -> bytes:
        """Return a signed request.

        :param nonce: None only within a key change (RFC 8555 section 7.3.5).
        :param account: its URL; None: the key itself is sent along.
        :raises BadToken: the nonce is none.
        """
        try:
            raw = None if nonce is None else decode_b64jose(nonce)
        except DeserializationError as error:
            raise BadToken("the authority's nonce is not base64url") from error
        signed = JWS.sign(payload, key=self._jwk, alg=ES256, nonce=raw, url=url, kid=account)
        return cast(str, signed.json_dumps()).encode()

    def bound(self, *, kid: str, mac_key: bytes, url: str) -> dict[str, Any]:
        """Return the external account binding (RFC 8555 section 7.3.4) of this key."""
        signed = JWS.sign(
            json.dumps(self.public()).encode(),
            key=JWKOct(key=mac_key),
            alg=HS256,
            nonce=None,
            url=url,
            kid=kid,
        )
        return cast(dict[str, Any], json.loads(signed.json_dumps()))

    def challenge(self, kind: str, token: str) -> tuple[Any, Any]:
        """Return acme's challenge and the response to it, for an :class:`IResponder`.

        :param kind: ``dns-01`` or ``http-01``.
        :raises BadToken: the authority's token is none.
        """
        try:
            challenge = _CHALLENGES[kind](token=decode_b64jose(token))
        except DeserializationError as error:
            raise BadToken("the authority's token is not base64url") from error
        # It goes into a URL of ours as it is printed, so that it has to be what was sent.
        if challenge.encode("token") != token:
            raise BadToken("the authority's token is not base64url")
        return challenge, challenge.response(self._jwk)


@implementer(IResponder)
class Responder:
    """txacme's interface over our board: what hangs there is answered by name servers or proxies.

    :param kind: ``dns-01`` or ``http-01``.
    """

    def __init__(self, kind: str, board: Board) -> None:
        self.challenge_type = kind
        self._board = board

    def start_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """Fires when everyone who may be asked has the answer."""
        return Deferred.fromCoroutine(
            self._board.post(self._answer(server_name, challenge, response))
        )

    def stop_responding(self, server_name: str, challenge: Any, response: Any) -> Deferred[None]:
        """Fires when it is taken down."""
        return Deferred.fromCoroutine(
            self._board.take_down(self._answer(server_name, challenge, response))
        )

    def _answer(self, server_name: str, challenge: Any, response: Any) -> Challenge:
        return Challenge.answering(
            self.challenge_type,
            server_name,
            challenge.encode("token"),
            str(response.key_authorization),
        )


class Transport(JWSClient):  # type: ignore[misc]
    """txacme's HTTP transport, without its signatures, which RFC 8555 outgrew."""

    def __init__(self, http: HTTPClient) -> None:
        super().__init__(http, None, None, user_agent=USER_AGENT)

    def request(
        self, method: str, url: str, data: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> Deferred[IResponse]:
        """Ask; fires with the response, its body still to be read.

        :param seconds: until the response's head.
        """
        sent = Headers({name: [value] for name, value in headers.items()})
        asking: Deferred[IResponse] = Deferred()

        def cancelled(_: object) -> None:
            under_way.cancel()

        under_way = self._send_request(
            method,
            url,
            data=data,
            headers=sent,
            timeout=seconds,
            unbuffered=True,
            allow_redirects=False,
        )
        asking = Deferred(cancelled)
        # txacme's DeferredContext gives back the plain Deferred, which belongs to us alone.
        under_way.addCallbacks(asking.callback, asking.errback)
        return asking


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new ECDSA P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def certificate_request(names: Sequence[str], key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate request for ``names``, as RFC 8555 wants it: base64url of DER.

    txacme puts the first name into the subject as well, cut to what fits.
    """
    request: x509.CertificateSigningRequest = csr_for_names(list(names), key)
    return str(encode_csr(request))
