"""Whether a failover would work today: each site's origin is asked for its own certificate daily.

While we carry a site nobody sees that certificate, so nobody notices when it ends; but DNS leads
visitors to it as soon as we fail. It is asked for as a browser would then: port 443, SNI = the
site's domain, and judged as a browser judges.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, platformTrust
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from watchducks.background import Repeating, Tasks
from watchducks.certificates.agenda import Agenda
from watchducks.certificates.pairs import names_of, wildcard_of
from watchducks.dialing import dial
from watchducks.model.changes import Changes
from watchducks.model.origins import Origin
from watchducks.model.scans import Note
from watchducks.model.sites import Site
from watchducks.model.verdicts import FailoverReport

# Where browsers go when DNS leads them to the origin.
PORT: Final = 443
TIMEOUT_SECONDS: Final = 10.0
DAY_SECONDS: Final = 86_400.0
# Who was told that it would break, and has put it right, sees it within this.
AGAIN_SECONDS: Final = 1800.0
TURN_SECONDS: Final = 1.0
# Begun in a turn: 100,000 sites are asked within 12 hours.
CHECKS_PER_TURN: Final = 3
MAX_CHECKS: Final = 30

SILENT: Final = Note("failover-silent", "your server does not speak https on port {port}")
EXPIRED: Final = Note("failover-expired", "the certificate of your server has expired")
OTHER_NAMES: Final = Note("failover-names", "the certificate of your server is not for {host}")
UNTRUSTED: Final = Note(
    "failover-untrusted",
    "the certificate of your server is signed by nobody whom browsers trust",
)
_EXPIRED_CODES: Final = frozenset({10})  # X509_V_ERR_CERT_HAS_EXPIRED

# Asks one site's origin; returns why a failover would break, or None.
Check = Callable[[Site], Awaitable[Note | None]]


@implementer(IOpenSSLClientConnectionCreator)
class _Observer:
    """Makes connections that end no handshake, and write down what is wrong with the chain.

    :ivar errors: OpenSSL's codes.
    """

    def __init__(self, host: str, trust: Any) -> None:
        self.errors: set[int] = set()
        self._host = host
        self._context = CertificateOptions(trustRoot=trust or platformTrust()).getContext()
        self._context.set_verify(SSL.VERIFY_PEER, self._verified)

    def _verified(self, _: Any, __: Any, code: int, ___: int, ok: int) -> bool:
        if not ok:
            self.errors.add(code)
        return True

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: ARG002
        """Return a connection without a socket, as Twisted wants it."""
        connection = SSL.Connection(self._context, None)
        connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """:ivar done: fires with the leaf, or fails."""

    def __init__(self) -> None:
        self.done: Deferred[x509.Certificate] = Deferred()

    def handshakeCompleted(self) -> None:
        transport: Any = self.transport
        certificate = transport.getPeerCertificate()
        if not self.done.called:
            self.done.callback(certificate.to_cryptography())
        transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(reason)


class CertificateCheck:
    """:param trust: who may sign (an IOpenSSLTrustRoot); None: whom the platform trusts."""

    def __init__(self, *, reactor: Any, trust: Any = None, port: int = PORT) -> None:
        self._reactor = reactor
        self._trust = trust
        self._port = port

    async def __call__(self, site: Site) -> Note | None:
        """Return why a failover of this site would break; None: it would work."""
        return await self.trouble(site.origin, site.domain, self._port)

    async def trouble(self, origin: Origin, host: str, port: int) -> Note | None:
        """Return what a browser would not accept of what an origin shows for a host; None: it would
        accept it."""
        observer = _Observer(host, self._trust)
        try:
            leaf = await self._leaf(origin, port, observer)
        except CancelledError:
            raise
        except Exception:  # of the many ways not to complete a handshake none tells an owner more
            return replace(SILENT, parameters={"port": port})
        return judged(leaf, host, observer.errors)

    async def _leaf(self, origin: Origin, port: int, observer: _Observer) -> x509.Certificate:
        assert origin.address is not None, "a site without an address is not asked"
        kind = TCP4ClientEndpoint if origin.address.version == 4 else TCP6ClientEndpoint
        endpoint: Any = kind(self._reactor, str(origin.address), port, TIMEOUT_SECONDS)
        handshake = _Handshake()
        inner: IProtocolFactory = Factory.forProtocol(lambda: handshake)
        factory = TLSMemoryBIOFactory(observer, isClient=True, wrappedFactory=inner)
        outer = factory.buildProtocol(None)
        await dial(endpoint, outer)
        return await handshake.done.addTimeout(TIMEOUT_SECONDS, self._reactor)


def judged(leaf: x509.Certificate, host: str, errors: set[int]) -> Note | None:
    """Return what a browser would not accept; None: nothing.

    :param errors: what OpenSSL found wrong with the chain.
    """
    if errors & _EXPIRED_CODES:
        return EXPIRED
    names = names_of(leaf)
    if host not in names and wildcard_of(host) not in names:
        return replace(OTHER_NAMES, parameters={"host": host})
    if errors:
        return UNTRUSTED
    return None


class FailoverChecks:
    """A Part; :meth:`apply` is what a ``SiteFeed`` calls. What it holds is bounded by the sites.

    :param accepts: whether a site's origin may be asked.
    """

    def __init__(self, check: Check, *, accepts: Callable[[Origin], bool], clock: Any) -> None:
        self._log = Logger()
        self._check = check
        self._accepts = accepts
        self._clock = clock
        self._sites: dict[int, Site] = {}
        self._ids: dict[str, int] = {}
        self._reports: dict[int, FailoverReport] = {}
        self._agenda = Agenda()
        self._checking: set[int] = set()
        self._tasks = Tasks(self._log)
        self._turns = Repeating(
            self._turn, TURN_SECONDS, clock=clock, log=self._log, name="checking failovers"
        )

    def report(self, site_id: int) -> FailoverReport | None:
        """Return what was found; None: it was not looked at yet."""
        return self._reports.get(site_id)

    def apply(self, changes: Changes) -> None:
        """Take over what changed."""
        for zone in changes.removed:
            self._forget(zone)
        for site in changes.sites:
            known = self._sites.get(self._ids.get(site.zone, 0))
            if known is not None and (known.id, known.origin, known.domain) == (
                *(site.id, site.origin),
                site.domain,
            ):
                continue
            self._forget(site.zone)
            if site.origin.address is not None and self._accepts(site.origin):
                self._ids[site.zone] = site.id
                self._sites[site.id] = site
                self._agenda.put(site.id, self._clock.seconds())

    def _forget(self, zone: str) -> None:
        site_id = self._ids.pop(zone, None)
        if site_id is not None:
            self._sites.pop(site_id, None)
            self._reports.pop(site_id, None)

    async def start(self) -> None:
        """Begin."""
        self._turns.start()

    async def stop(self) -> None:
        """End."""
        await self._turns.stop()
        await self._tasks.stop()

    async def _turn(self) -> None:
        for _ in range(min(CHECKS_PER_TURN, MAX_CHECKS - len(self._checking))):
            site_id = self._agenda.take(self._clock.seconds())
            if site_id is None:
                return
            site = self._sites.get(site_id)
            if site is not None and site_id not in self._checking:
                self._checking.add(site_id)
                self._tasks.start(self._look(site), f"checking the failover of {site.name}")

    async def _look(self, site: Site) -> None:
        again = AGAIN_SECONDS
        try:
            trouble = await self._check(site)
            if self._sites.get(site.id) is site:
                self._reports[site.id] = FailoverReport(trouble, self._clock.seconds())
                again = AGAIN_SECONDS if trouble else DAY_SECONDS
        finally:
            self._checking.discard(site.id)
            if site.id in self._sites:
                self._agenda.put(site.id, self._clock.seconds() + again)
