"""The proxy as a part of the appliance: listens, and stops without breaking what is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks import __version__
from watchducks.background import StartupError, Tasks
from watchducks.model.rows import RowSink
from watchducks.proxy.accept import TlsAccept
from watchducks.proxy.context import Certificates, Challenges, ProxyContext, RequestIds, Routes
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.entrance import VisitorFactory
from watchducks.proxy.http1 import VisitorConnection
from watchducks.proxy.limits import Limits
from watchducks.proxy.pool import OriginPools, ProxyReactor
from watchducks.proxy.rates import ClientRates
from watchducks.proxy.tls import turns_of
from watchducks.settings import Settings
from watchducks.sockets import Sockets

# How often a stopping proxy looks whether its last connection has ended.
_DRAIN_POLL_SECONDS: Final = 0.05
# For aborted connections to be reported lost: one turn of the reactor, if it is not busy.
_ABORT_SECONDS: Final = 1.0
# Connects that may wait for one turn of the reactor. Twisted's 50 overflows in any burst, and each
# visitor whose first packet is dropped waits a second; the kernel caps it at its own 4,096.
BACKLOG: Final = 1024


def with_backlog(description: str) -> str:
    """Return an endpoint's description with our backlog, if it is one of TCP and names none."""
    if description.startswith(("tcp:", "tcp6:")) and ":backlog=" not in description:
        return f"{description}:backlog={BACKLOG}"
    return description


class Proxy:
    """Carries the traffic of all registered sites (:class:`watchducks.background.Part`).

    :ivar bound_addresses: what each configured endpoint was bound to, ``http`` and ``https``.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        routes: Routes,
        certificates: Certificates,
        sink: RowSink,
        reactor: ProxyReactor,
        wall: Callable[[], float] = time.time,
        limits: Limits | None = None,
        trust_root: Any = None,
        sockets: Sockets | None = None,
        challenges: Challenges | None = None,
    ) -> None:
        """:param wall: POSIX seconds.
        :param trust_root: who may sign origins' certificates (an IOpenSSLTrustRoot); None: whom the
            platform trusts.
        :param sockets: those that are bound already; None: those of systemd.
        :param challenges: pages for certificate authorities; None: there are none.
        """
        self._log = Logger()
        self._settings = settings.proxy
        self._reactor = reactor
        self._sockets = Sockets() if sockets is None else sockets
        self._certificates = certificates
        self._limits = limits or Limits(drain_seconds=settings.node.drain_seconds)
        deadlines = Deadlines(reactor)
        self._context = ProxyContext(
            routes=routes,
            pools=OriginPools(
                reactor=reactor, deadlines=deadlines, limits=self._limits, trust_root=trust_root
            ),
            sink=sink,
            clock=reactor,
            wall=wall,
            deadlines=deadlines,
            limits=self._limits,
            tasks=Tasks(self._log),
            new_request_id=RequestIds(),
            node=settings.node.name,
            version=__version__,
            trusted_networks=settings.proxy.trusted_peers,
            rates=self._rates(),
            challenges=challenges,
        )
        self._ports: list[IListeningPort] = []
        self.bound_addresses: dict[str, list[IAddress]] = {"http": [], "https": []}

    @property
    def connections(self) -> int:
        """How many connections of visitors are open."""
        return len(self._context.connections)

    def _rates(self) -> ClientRates | None:
        connections = self._settings.client_connections
        per_second = self._settings.client_requests_per_second
        if not (connections or per_second):
            return None
        return ClientRates(
            connections=connections, requests_per_second=per_second, clock=self._reactor
        )

    async def start(self) -> None:
        """Listen on every configured endpoint.

        :raises StartupError: one of them cannot be had; then none is kept.
        """
        context = self._context
        http = VisitorFactory(context, lambda peer: VisitorConnection(context, "http", None, peer))
        turns = turns_of(self._reactor)
        https = VisitorFactory(
            context, lambda peer: TlsAccept(context, self._certificates, turns, peer)
        )
        context.deadlines.start()
        try:
            await self._listen("http", self._settings.http, http)
            await self._listen("https", self._settings.https, https)
        except StartupError:
            await self.stop()
            raise

    async def _listen(self, key: str, endpoints: Sequence[str], factory: Factory) -> None:
        for description in endpoints:
            try:
                for endpoint in self._sockets.streams(
                    description, reactor=self._reactor, unbound=with_backlog(description)
                ):
                    self._opened(key, description, await endpoint.listen(factory))
            except StartupError:
                raise
            except CannotListenError as error:
                why = error.socketError
                raise StartupError(
                    f"proxy.{key}: {description}: cannot listen: "
                    f"{getattr(why, 'strerror', None) or why}"
                ) from error
            except Exception as error:  # systemd: and endpoints of plug-ins raise what they like
                raise StartupError(f"proxy.{key}: {description}: cannot listen: {error}") from error

    def _opened(self, key: str, description: str, port: IListeningPort) -> None:
        self._ports.append(port)
        if isinstance(port.getHost(), UNIXAddress):
            raise StartupError(
                f"proxy.{key}: {description}: a UNIX socket: a visitor's address is needed,"
                " and UNIX sockets have none; give it a TCP socket"
            )
        self.bound_addresses[key].append(port.getHost())
        self._log.info("{key}: listening on {address}", key=key, address=port.getHost())

    async def stop(self) -> None:
        """Accept no more, let what is under way end within ``drain_seconds``, then cut the rest."""
        context = self._context
        context.draining = True
        endpoints = (*self._settings.http, *self._settings.https)
        # Any: doors that are one instance's own (watchducks.instances) are nobody's to inherit.
        context.successor = any(self._sockets.has(endpoint) for endpoint in endpoints)
        ports, self._ports = self._ports, []
        for port in ports:
            await port.stopListening()  # type: ignore[misc]
        for connection in list(context.connections):
            connection.drain()
        await self._until_closed(self._limits.drain_seconds)
        if context.connections:
            self._log.warn(
                "{count} connections were cut off: still busy {seconds} s after the stop",
                count=len(context.connections),
                seconds=self._limits.drain_seconds,
            )
            for connection in list(context.connections):
                connection.abort()
            await self._until_closed(_ABORT_SECONDS)
        await context.tasks.stop()
        context.pools.stop()
        context.deadlines.stop()

    async def _until_closed(self, seconds: float) -> None:
        until = self._reactor.seconds() + seconds
        while self._context.connections and self._reactor.seconds() < until:
            await deferLater(self._reactor, _DRAIN_POLL_SECONDS)
