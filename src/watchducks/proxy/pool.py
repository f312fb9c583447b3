"""Kept connections to origins, and how many exchanges an origin may have at a time.

One :class:`OriginPool` for each (scheme, address, port, name). Its rules:

* the connection used last is used first, so that the others grow idle and are closed;
* at most ``origin_exchanges`` exchanges run with one origin; some more wait in line, briefly, and
  any further are refused, so that one dead origin cannot hold the memory of all;
* a pool without connections and waiters is forgotten.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    TCPTimedOutError,
)
from twisted.internet.error import (
    ConnectionRefusedError as Refused,
)
from twisted.internet.error import (
    TimeoutError as ConnectTimeout,
)
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory

from watchducks.model.origins import Address
from watchducks.model.routing import Route
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.limits import Limits
from watchducks.proxy.origin import OriginConnection

Scheme = Literal["http", "https"]


# IReactorTCP and IReactorTime: there is no type for "both".
ProxyReactor = Any


class OriginKey(NamedTuple):
    """What two exchanges must have in common to share a connection."""

    scheme: Scheme
    address: Address
    port: int
    domain: str


def origin_endpoint(
    reactor: ProxyReactor, address: Address, port: int, limits: Limits
) -> IStreamClientEndpoint:
    """Return how to connect to ``address``."""
    kind = TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint
    return kind(reactor, str(address), port, timeout=limits.connect_seconds)


def connect_failure(error: Exception) -> OriginFailure:
    """Return what a failed connect of an :func:`origin_endpoint` means."""
    if isinstance(error, Refused):
        return OriginFailure(Reason.CONNECT_REFUSED)
    if isinstance(error, ConnectTimeout | TCPTimedOutError):
        return OriginFailure(Reason.CONNECT_TIMEOUT)
    return OriginFailure(Reason.CONNECT_FAILED)


class OriginPool:
    """The connections to one origin.

    :ivar sites: the keys under which :class:`OriginPools` knows it besides its own.
    """

    def __init__(self, pools: OriginPools, key: OriginKey) -> None:
        self.limits = pools.limits
        self.deadlines = pools.deadlines
        self.key = key
        self.sites: set[tuple[int, Scheme]] = set()
        self._pools = pools
        self._tls: IOpenSSLClientConnectionCreator | None = None
        self._idle: list[OriginConnection] = []
        self._busy = 0
        self._waiting: deque[Deferred[None]] = deque()

    @property
    def unused(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self._idle or self._busy or self._waiting)

    def take(self, *, replayable: bool) -> OriginConnection | None:
        """Return a kept connection, to be given back by :meth:`release`; None: :meth:`lease` one.

        :param replayable: the request may be sent again if the origin closes the connection just
            now. One that may not gets only a connection that was used a moment ago.
        """
        if not self._idle or self._busy >= self.limits.origin_exchanges or self._waiting:
            return None
        return self._reuse(replayable=replayable)

    def _reuse(self, *, replayable: bool) -> OriginConnection | None:
        connection = self._idle[-1]
        if not replayable:
            age = self._pools.clock.seconds() - connection.idle_since
            if age > self.limits.pooled_fresh_seconds:
                return None
        self._idle.pop()
        self._pools.idle -= 1
        self.deadlines.clear(connection)
        self._busy += 1
        return connection

    async def lease(self, *, replayable: bool, new: bool = False) -> OriginConnection:
        """Return a connection, to be given back by :meth:`release`; wait for one if need be.

        :param new: not a kept one.
        :raises OriginFailure: it cannot be had.
        """
        await self._wait_for_turn()
        if self._idle and not new:
            connection = self._reuse(replayable=replayable)
            if connection is not None:
                return connection
        self._busy += 1
        try:
            return await self._connect()
        except BaseException:
            self._busy -= 1
            self._next()
            raise

    async def _wait_for_turn(self) -> None:
        if self._busy < self.limits.origin_exchanges:
            return
        if len(self._waiting) >= self.limits.origin_queue:
            raise OriginFailure(Reason.OVERLOADED)
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        try:
            await turn.addTimeout(self.limits.origin_queue_seconds, self._pools.clock)
        except DeferredTimeout:
            raise OriginFailure(Reason.OVERLOADED) from None
        finally:
            with suppress(ValueError):  # whoever gave us the turn has taken us out already
                self._waiting.remove(turn)

    async def _connect(self) -> OriginConnection:
        key = self.key
        connection = OriginConnection(self, tls=key.scheme == "https")
        factory: IProtocolFactory = Factory.forProtocol(lambda: connection)
        if key.scheme == "https":
            if self._tls is None:
                self._tls = optionsForClientTLS(key.domain, trustRoot=self._pools.trust_root)
            factory = TLSMemoryBIOFactory(self._tls, True, factory, self._pools.clock)
        endpoint = origin_endpoint(self._pools.reactor, key.address, key.port, self.limits)
        try:
            await endpoint.connect(factory)
        except ConnectingCancelledError:
            raise CancelledError from None
        except ConnectError as error:
            raise connect_failure(error) from error
        try:
            # The TLS handshake has as long again as the TCP one.
            await connection.ready.addTimeout(self.limits.connect_seconds, self._pools.clock)
        except DeferredTimeout:
            connection.abort()
            raise OriginFailure(Reason.CONNECT_TIMEOUT) from None
        except CancelledError:
            connection.abort()
            raise
        return connection

    def release(self, connection: OriginConnection, *, reusable: bool) -> None:
        """Take back a connection whose exchange has ended. One that is not reusable, or is one too
        many, is not kept; the former is closed by whoever says so."""
        self._busy -= 1
        if reusable:
            pools = self._pools
            if (
                len(self._idle) >= self.limits.pooled_per_origin
                or pools.idle >= self.limits.pooled_total
                or pools.stopped
            ):
                connection.close()
            else:
                connection.idle_since = pools.clock.seconds()
                self._idle.append(connection)
                pools.idle += 1
                self.deadlines.set(connection, self.limits.pooled_idle_seconds)
        self._next()

    def _next(self) -> None:
        """Let the first in line go ahead; with nobody in line and nothing kept, end."""
        while self._waiting and self._busy < self.limits.origin_exchanges:
            turn = self._waiting.popleft()
            if not turn.called:
                turn.callback(None)
        if self.unused:
            self._pools.forget(self)

    def forget(self, connection: OriginConnection) -> None:
        """The origin closed a kept connection, or it was idle for too long."""
        with suppress(ValueError):  # one that is being closed is not kept any more
            self._idle.remove(connection)
            self._pools.idle -= 1
        if self.unused:
            self._pools.forget(self)

    def close_idle(self) -> None:
        """Close the kept connections."""
        idle, self._idle = self._idle, []
        self._pools.idle -= len(idle)
        for connection in idle:
            connection.abort()  # nothing is under way that a gentler end would save


class OriginPools:
    """The pools of all origins in use.

    :ivar idle: how many connections are kept, over all origins.
    :ivar stopped: no connection is kept any more.
    """

    def __init__(
        self,
        *,
        reactor: ProxyReactor,
        deadlines: Deadlines,
        limits: Limits,
        trust_root: Any = None,  # an IOpenSSLTrustRoot, which Twisted does not export,
    ) -> None:
        """:param trust_root: who may sign origins' certificates; None: whom the platform trusts."""
        self.reactor = reactor
        self.clock: IReactorTime = reactor
        self.deadlines = deadlines
        self.limits = limits
        self.trust_root = trust_root
        self.idle = 0
        self.stopped = False
        self._pools: dict[OriginKey, OriginPool] = {}
        # The way a request takes: one look-up and one comparison by identity, because the route
        # table hands out the same route until the site changes.
        self._by_site: dict[tuple[int, Scheme], tuple[Route, OriginPool]] = {}

    def of(self, route: Route, visitor_scheme: Scheme) -> OriginPool:
        """Return the pool for requests of ``route`` that came by ``visitor_scheme``."""
        site = (route.site_id, visitor_scheme)
        held = self._by_site.get(site)
        if held is not None:
            if held[0] is route:
                return held[1]
            held[1].sites.discard(site)
        scheme, port = route.origin.endpoint(visitor_scheme)
        key = OriginKey(scheme, route.origin.address, port, route.domain)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = OriginPool(self, key)
        pool.sites.add(site)
        self._by_site[site] = (route, pool)
        return pool

    def __len__(self) -> int:
        return len(self._pools)

    def forget(self, pool: OriginPool) -> None:
        """Called by a pool that is unused."""
        if self._pools.get(pool.key) is pool:
            del self._pools[pool.key]
        for site in pool.sites:
            self._by_site.pop(site, None)
        pool.sites.clear()

    def stop(self) -> None:
        """Close every kept connection and keep no more."""
        self.stopped = True
        for pool in list(self._pools.values()):
            pool.close_idle()
            if pool.unused:
                self.forget(pool)
