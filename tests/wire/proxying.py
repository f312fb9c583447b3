"""A running proxy for tests, with fakes behind its seams, and visitors made of raw bytes."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.unit.certificates.authority import Authority
from tests.wire.origin import Handler, Origin
from watchducks.certificates.pairs import make_context, make_default_context
from watchducks.model.challenges import Answers
from watchducks.model.origins import Origin as OriginAddress
from watchducks.model.routing import Route
from watchducks.model.rows import Row
from watchducks.proxy.accept import ALPN
from watchducks.proxy.limits import Limits
from watchducks.proxy.service import Proxy
from watchducks.routes import UNKNOWN, Unknown
from watchducks.settings import parse
from watchducks.sockets import Sockets

HOST = "www.example.com"
# Long enough for a loaded machine, short enough to notice.
PATIENCE_SECONDS = 10.0


class FakeRoutes:
    """A table that a test fills.

    :ivar slow: hosts that only a look-up finds. :ivar asked: the look-ups that began.
    """

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.slow: dict[str, Deferred[Route | None]] = {}
        self.failing: set[str] = set()
        self.asked: list[str] = []

    def known(self, host: str) -> Route | Unknown | None:
        if host in self.slow or host in self.failing:
            return UNKNOWN
        return self.routes.get(host)

    async def look_up(self, host: str) -> Route | None:
        self.asked.append(host)
        if host in self.failing:
            raise RuntimeError("every store is down")
        return await self.slow[host]


class FakeCertificates:
    """Holds contexts by exact name."""

    def __init__(self) -> None:
        self.default_context = make_default_context(1.8e9, ALPN)
        self.contexts: dict[str, tuple[SSL.Context, tuple[str, ...]]] = {}

    def hold(self, authority: Authority, *names: str) -> None:
        chain, key = authority.certify(*names)
        context = make_context(chain, key, ALPN)
        for name in names:
            self.contexts[name] = (context, names)

    def context_for(self, server_name: str) -> SSL.Context | None:
        held = self.contexts.get(server_name)
        return None if held is None else held[0]

    def covers(self, server_name: str, host: str) -> bool:
        held = self.contexts.get(server_name)
        return held is not None and host in held[1]


class Rows(list[Row]):
    """A RowSink that keeps them."""

    def record(self, row: Row) -> None:
        self.append(row)


class RawVisitor(Protocol):
    """Sends and receives bytes; nothing is interpreted."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.closed = False
        self.reason: Failure | None = None
        self._wanted: Callable[[RawVisitor], bool] | None = None
        self._waiting: Deferred[None] | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        self._look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed = True
        self.reason = reason
        self._look()

    def _look(self) -> None:
        if self._waiting is not None and self._wanted is not None and self._wanted(self):
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    async def until(self, wanted: Callable[[RawVisitor], bool]) -> bytes:
        """Wait until ``wanted`` is true of this visitor; returns what has been received."""
        from twisted.internet import reactor

        if not wanted(self):
            self._wanted, self._waiting = wanted, Deferred()
            try:
                await self._waiting.addTimeout(PATIENCE_SECONDS, reactor)
            except Exception as error:
                raise AssertionError(f"waited in vain; got {self.data[-2000:]!r}") from error
        return self.data

    async def until_has(self, text: bytes) -> bytes:
        return await self.until(lambda visitor: text in visitor.data)

    async def until_closed(self) -> bytes:
        return await self.until(lambda visitor: visitor.closed)

    def send(self, data: bytes) -> None:
        self.transport.write(data)


async def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until ``condition`` is true."""
    from twisted.internet import reactor

    from tests.servers.waiting import eventually

    async def holds() -> bool:
        return bool(condition())

    await eventually(reactor, holds, what, PATIENCE_SECONDS, every=0.01)


@dataclass
class Running:
    """A proxy under test with everything around it.

    :ivar origin_key: the private key of the origin's certificate, if it has one.
    """

    proxy: Proxy
    routes: FakeRoutes
    certificates: FakeCertificates
    rows: Rows
    origin: Origin
    authority: Authority
    origin_key: Any = None
    visitors: list[RawVisitor] = field(default_factory=list)

    @property
    def http_port(self) -> int:
        return self.proxy.bound_addresses["http"][0].port  # type: ignore[attr-defined, no-any-return]

    @property
    def https_port(self) -> int:
        return self.proxy.bound_addresses["https"][0].port  # type: ignore[attr-defined, no-any-return]

    async def visit(self, data: bytes = b"") -> RawVisitor:
        """Connect to the http port and send ``data``."""
        from twisted.internet import reactor

        visitor = RawVisitor()
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.http_port).connect(
            Factory.forProtocol(lambda: visitor)
        )
        self.visitors.append(visitor)
        visitor.send(data)
        return visitor

    async def visit_tls(
        self, server_name: str, data: bytes = b"", alpn: tuple[bytes, ...] = ()
    ) -> RawVisitor:
        """Connect to the https port, verifying nothing, and send ``data``."""
        from twisted.internet import reactor

        visitor = RawVisitor()
        factory = TLSMemoryBIOFactory(
            AnyServer(server_name, alpn),
            isClient=True,
            wrappedFactory=Factory.forProtocol(lambda: visitor),
        )
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.https_port).connect(factory)
        self.visitors.append(visitor)
        if data:
            visitor.send(data)
        return visitor

    async def until_rows(self, count: int) -> Rows:
        await wait_for(lambda: len(self.rows) >= count, f"{count} rows")
        return self.rows


@implementer(IOpenSSLClientConnectionCreator)
class AnyServer:
    """A TLS client that accepts any certificate (an IOpenSSLClientConnectionCreator)."""

    def __init__(self, server_name: str, alpn: tuple[bytes, ...]) -> None:
        self._server_name = server_name
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if alpn:
            self._context.set_alpn_protos(list(alpn))

    def clientConnectionForTLS(self, protocol: object) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._server_name:
            connection.set_tlsext_host_name(self._server_name.encode())
        connection.set_connect_state()
        return connection


@implementer(IOpenSSLServerConnectionCreator)
class _ServerWith:
    """TLS for an origin."""

    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        return SSL.Connection(self._context, None)


def route_to(
    port: int,
    *,
    scheme: Any = "http",
    site_id: int = 7,
    domain: str = HOST,
    address: str = "127.0.0.1",
) -> Route:
    origin = OriginAddress(scheme, ipaddress.ip_address(address), port)
    return Route(site_id, "ducks", domain, origin)


@asynccontextmanager
async def running(
    handler: Handler | None = None,
    *,
    limits: Limits | None = None,
    origin_names: tuple[str, ...] | None = None,
    trusted: bool = True,
    proxy_settings: Mapping[str, object] | None = None,
    sockets: Sockets | None = None,
    challenges: Answers | None = None,
) -> AsyncIterator[Running]:
    """Start an origin and a proxy that knows it as :data:`HOST`.

    :param origin_names: the names of the origin's certificate; None: it speaks plain HTTP.
    :param trusted: whether the proxy trusts who signed it.
    :param proxy_settings: more keys of the section ``[proxy]``.
    :param sockets: those that are bound already.
    :param challenges: pages for certificate authorities.
    """
    from twisted.internet import reactor

    authority = Authority()
    origin = Origin(handler)
    creator = key = None
    if origin_names is not None:
        chain, key = authority.certify(*origin_names)
        creator = _ServerWith(make_context(chain, key, ()))
    origin.start(reactor, creator)
    settings = parse(
        {
            "node": {"name": "edge-test", "roles": ["proxy"], "data_dir": "/nonexistent"},
            "proxy": {
                "http": ["tcp:0:interface=127.0.0.1"],
                "https": ["tcp:0:interface=127.0.0.1"],
                **(proxy_settings or {}),
            },
        }
    )
    routes, certificates, rows = FakeRoutes(), FakeCertificates(), Rows()
    scheme = "http" if origin_names is None else "https"
    routes.routes[HOST] = route_to(origin.port, scheme=scheme)
    trust = authority if trusted else Authority()
    proxy = Proxy(
        settings,
        routes=routes,
        certificates=certificates,
        sink=rows,
        reactor=reactor,
        limits=limits,
        trust_root=trust.twisted,
        sockets=sockets,
        challenges=challenges,
    )
    await proxy.start()
    run = Running(proxy, routes, certificates, rows, origin, authority, key)
    try:
        yield run
    finally:
        for visitor in run.visitors:
            if not visitor.closed:
                visitor.transport.abortConnection()
        await proxy.stop()
        await origin.stop()
