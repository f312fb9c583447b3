"""TLS towards origins: whom we take for the right one, and sessions that are resumed.

What OpenSSL needs to know of the platform's authorities takes 1 MB and 6 ms, so all origins share
two contexts: one that verifies the chain, one that does not. What differs from origin to origin,
its name or its key, is looked at when the handshake is complete, before any request is sent; that
holds for a resumed session, too, which brings the certificate that it began with.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate
from OpenSSL import SSL
from service_identity.pyopenssl import verify_hostname
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, platformTrust
from twisted.python.failure import Failure

from watchducks.model.sites import OriginTls
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.tls import Surroundings, TlsConnection
from watchducks.proxy.tls_engine import best_engine

# About 5 kB each, the origin's certificates included. The sites beyond are those whose connections
# are rarely renewed anyway: the busy ones are kept open.
MAX_SESSIONS: Final = 2000
# A certificate that expires is noticed this much later at the most: a resumed session is not signed
# by it again. RFC 8446 allows a week; servers commonly forget after minutes to a day.
SESSION_SECONDS: Final = 3600.0


def spki_digest(certificate: Certificate) -> str:
    """Return the SHA-256 of the certificate's SubjectPublicKeyInfo in hexadecimal: its pin."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


class OriginIdentity(NamedTuple):
    """How one origin proves to be the right one.

    :ivar domain: for SNI, and with ``verify`` the name of its certificate (A-labels).
    :ivar mode: :attr:`watchducks.model.sites.SiteChoices.origin_tls`.
    :ivar pin: :attr:`watchducks.model.sites.SiteChoices.origin_pin`.
    """

    domain: str
    mode: OriginTls
    pin: str

    def check(self, connection: SSL.Connection) -> None:
        """Look at the certificate of a complete handshake, whose chain OpenSSL has verified if it
        is to be verified.

        :raises OriginFailure: it is not that of the right origin.
        """
        # A certificate is a stranger's input, and its parsers raise what they like: whatever cannot
        # be read proves nothing.
        if self.mode == "verify":
            try:
                verify_hostname(connection, self.domain)
            except Exception as error:
                raise OriginFailure(Reason.ORIGIN_TLS) from error
        elif self.mode == "pinned":
            try:
                certificate = connection.get_peer_certificate(as_cryptography=True)
                digest = "" if certificate is None else spki_digest(certificate)
            except Exception as error:
                raise OriginFailure(Reason.ORIGIN_PIN) from error
            if digest != self.pin:
                raise OriginFailure(Reason.ORIGIN_PIN)


class OriginContexts:
    """The contexts and the sessions of all origins of one proxy.

    :param trust_root: who may sign origins' certificates (an IOpenSSLTrustRoot, which Twisted does
        not export); None: whom the platform trusts.
    """

    def __init__(self, trust_root: Any, *, clock: IReactorTime) -> None:
        self._trust_root = trust_root
        self._clock = clock
        self._verifying: SSL.Context | None = None
        self._accepting: SSL.Context | None = None
        # Key -> session and until when it is offered; the one kept longest ago comes first.
        self._sessions: OrderedDict[Hashable, tuple[SSL.Session, float]] = OrderedDict()

    def connection(self, key: Hashable, identity: OriginIdentity) -> SSL.Connection:
        """Return a connection over memory BIOs that is about to shake hands as a client.

        :param key: of the origin: where a session of its own is kept by :meth:`keep_session`.
        """
        connection = SSL.Connection(self._context(identity.mode), None)
        connection.set_tlsext_host_name(identity.domain.encode("ascii"))
        held = self._sessions.get(key)
        if held is not None:
            session, until = held
            if self._clock.seconds() < until:
                connection.set_session(session)
            else:
                del self._sessions[key]
        connection.set_connect_state()
        return connection

    def keep_session(self, key: Hashable, connection: SSL.Connection) -> None:
        """Offer the session of ``connection`` when the origin is next connected to. Its identity
        was checked, and it has brought data: TLS 1.3 sends tickets behind the handshake."""
        session = connection.get_session()
        if session is None:
            return
        held = self._sessions.get(key)
        # One that was resumed is as old as the one it came from: its certificate was looked at
        # then, and is to be looked at anew in time.
        now = self._clock.seconds()
        until = held[1] if held is not None and now < held[1] else now + SESSION_SECONDS
        self._sessions[key] = session, until
        self._sessions.move_to_end(key)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)

    def _context(self, mode: OriginTls) -> SSL.Context:
        if mode == "verify":
            if self._verifying is None:
                trust = platformTrust() if self._trust_root is None else self._trust_root
                options = CertificateOptions(trustRoot=trust, enableSessionTickets=True)
                self._verifying = options.getContext()
            return self._verifying
        if self._accepting is None:
            self._accepting = CertificateOptions(enableSessionTickets=True).getContext()
        return self._accepting


class OriginTransport(TlsConnection):
    """The client's side of one TLS connection: a transport for ``inner``, which hears of it when
    the handshake is complete, or of its loss if it never is."""

    def __init__(self, shared: Surroundings, connection: SSL.Connection, inner: Protocol) -> None:
        # Nothing is collected until a turn ends: a request is one write anyway.
        super().__init__(shared, best_engine(connection), lambda _alpn: inner, None)
        self._waiting: Protocol | None = inner

    def connectionMade(self) -> None:
        super().connectionMade()
        self._begin_handshake()

    def _begin(self) -> None:
        self._waiting = None
        super()._begin()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        waiting, self._waiting = self._waiting, None
        super().connectionLost(reason)
        if waiting is not None:
            waiting.connectionLost(reason if self._failure is None else self._failure)
