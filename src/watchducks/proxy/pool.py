"""Kept connections to origins, and how many exchanges an origin may have at a time.

One :class:`OriginPool` for each (scheme, addresses, port, identity); where an origin has several
addresses, a connection is made to the first that accepts. Its rules:

* the connection used last is used first, so that the others grow idle and are closed;
* at most ``origin_exchanges`` exchanges run with one origin, and at most ``origin_connecting`` of
  them wait for a connection to be made; some more wait in line, briefly, for their turn or for a
  connection that another gives back, and any further are refused, so that one dead origin cannot
  hold the memory of all;
* at most ``origin_uploads`` of them wait for more of a request's body, so that visitors who drip
  theirs leave room for the others;
* a pool without connections and waiters is forgotten.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

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
    IAddress,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol

from watchducks.model.origins import Address
from watchducks.model.routing import Route
from watchducks.proxy.deadlines import Deadlines
from watchducks.proxy.errors import OriginFailure, Reason
from watchducks.proxy.limits import Limits
from watchducks.proxy.origin import OriginConnection
from watchducks.proxy.origin_tls import OriginContexts, OriginIdentity, OriginTransport

Scheme = Literal["http", "https"]


# IReactorTCP and IReactorTime: there is no type for "both".
ProxyReactor = Any
# Of origins that prove nothing.
_NOBODY: Final = OriginIdentity("", "off", "")
# Sites whose pool is remembered: 1 MB at most. Finding it anew takes a few microseconds.
_KEPT_SITES: Final = 4096


class OriginKey(NamedTuple):
    """What two exchanges must have in common to share a connection."""

    scheme: Scheme
    addresses: tuple[Address, ...]
    port: int
    identity: OriginIdentity

    @classmethod
    def of(cls, route: Route, visitor_scheme: Scheme) -> OriginKey:
        """Return the key for requests of ``route`` that came by ``visitor_scheme``."""
        scheme, port = route.origin.endpoint(visitor_scheme)
        choices = route.choices
        if scheme == "https":
            identity = OriginIdentity(route.domain, choices.origin_tls, choices.origin_pin)
        else:  # there is nothing to verify: all sites of one address share its connections
            identity = _NOBODY
        return cls(scheme, route.origin.addresses, port, identity)


@dataclass(slots=True, eq=False)
class _Waiting:
    """One in line. ``turn`` brings a kept connection, or None: make one."""

    who: object
    replayable: bool
    new: bool
    turn: Deferred[OriginConnection | None]


async def connect_to_origin(
    reactor: ProxyReactor,
    addresses: Sequence[Address],
    port: int,
    limits: Limits,
    make_protocol: Callable[[], Protocol],
) -> None:
    """Connect to the first of ``addresses`` that accepts.

    :param make_protocol: gives what the connection is for.
    :raises OriginFailure: none does, or its name has none that is known; says what the last did.
    """
    # The reason is kept, and not the error: its traceback would hold this frame, and the frame it.
    reason = Reason.CONNECT_FAILED
    factory = _Once(make_protocol)
    for address in addresses:
        kind = TCP4ClientEndpoint if address.version == 4 else TCP6ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(
            reactor, str(address), port, timeout=limits.connect_seconds
        )
        try:
            await endpoint.connect(factory)
        except ConnectingCancelledError:
            raise CancelledError from None
        except ConnectError as error:
            reason = _reason_of(error)
            continue
        return
    raise OriginFailure(reason)


class _Once(Factory):
    """The factory of a single protocol, which neither it nor the protocol has a hold of after."""

    noisy = False  # two lines in the log for each connection

    def __init__(self, make_protocol: Callable[[], Protocol]) -> None:
        self._make: Callable[[], Protocol] | None = make_protocol

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:  # noqa: ARG002
        make, self._make = self._make, None
        return None if make is None else make()


def _reason_of(error: Exception) -> Reason:
    """Return what a failed connect means."""
    if isinstance(error, Refused):
        return Reason.CONNECT_REFUSED
    if isinstance(error, ConnectTimeout | TCPTimedOutError):
        return Reason.CONNECT_TIMEOUT
    return Reason.CONNECT_FAILED


class OriginPool:
    """The connections to one origin.

    :ivar forgotten: it was unused, and another may have taken its place.
    :ivar sites: that were led to it, and by which scheme.
    """

    def __init__(self, pools: OriginPools, key: OriginKey) -> None:
        self.limits = pools.limits
        self.deadlines = pools.deadlines
        self.key = key
        self.forgotten = False
        self.sites: set[tuple[int, Scheme]] = set()
        self._pools = pools
        self._idle: list[OriginConnection] = []
        self._busy = 0
        self._connecting = 0  # of those that are busy
        self._waiting: deque[_Waiting] = deque()
        self._calling = False  # those in line, one after the other
        self._uploads: set[object] = set()
        # TLS connections that have not brought an answer yet, so that their session is not kept.
        self._fresh: set[OriginConnection] = set()

    @property
    def unused(self) -> bool:
        """Whether nothing would be lost with it."""
        return not (self._idle or self._busy or self._waiting)

    def take(self, *, replayable: bool) -> OriginConnection | None:
        """Return a kept connection, to be given back by :meth:`release`; None: :meth:`lease` one.

        :param replayable: the request may be sent again if the origin closes the connection just
            now. One that may not gets only a connection that was used a moment ago.
        """
        if not self._idle or self._busy >= self.limits.origin_exchanges:
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

    def begin_upload(self, who: object) -> bool:
        """Count ``who`` as one whose request's body is still to come, until :meth:`end_upload`;
        False: there are enough of them."""
        if len(self._uploads) >= self.limits.origin_uploads:
            return False
        self._uploads.add(who)
        return True

    def end_upload(self, who: object) -> None:
        """The body has come, or does not come any more."""
        self._uploads.discard(who)

    async def lease(self, who: object, *, replayable: bool, new: bool = False) -> OriginConnection:
        """Return a connection, to be given back by :meth:`release`; wait for one if need be.

        :param who: asks; while he is in line he may :meth:`leave_line`.
        :param new: not a kept one.
        :raises OriginFailure: it cannot be had.
        """
        # Nobody in line is overtaken: the first would have gone ahead already, if it could.
        settled, connection = self._settle(replayable=replayable, new=new)
        if not settled:
            connection = await self._wait_in_line(who, replayable=replayable, new=new)
        if connection is not None:
            return connection
        try:
            connection = await self._connect()
        except BaseException:
            self._busy -= 1
            raise
        finally:
            self._connecting -= 1
            self._next()
        return connection

    def _settle(self, *, replayable: bool, new: bool) -> tuple[bool, OriginConnection | None]:
        """Return whether it can go ahead, and the connection with which, if not with one that it
        has to make; both are counted from here on."""
        if self._busy >= self.limits.origin_exchanges:
            return False, None
        if self._idle and not new:
            connection = self._reuse(replayable=replayable)
            if connection is not None:
                return True, connection
        if self._connecting >= self.limits.origin_connecting:
            return False, None
        self._busy += 1
        self._connecting += 1
        return True, None

    async def _wait_in_line(
        self, who: object, *, replayable: bool, new: bool
    ) -> OriginConnection | None:
        if len(self._waiting) >= self.limits.origin_queue:
            raise OriginFailure(Reason.OVERLOADED)
        waiting = _Waiting(who, replayable, new, Deferred())
        self._waiting.append(waiting)
        try:
            return await waiting.turn.addTimeout(
                self.limits.origin_queue_seconds, self._pools.clock
            )
        except DeferredTimeout:
            raise OriginFailure(Reason.OVERLOADED) from None
        finally:
            with suppress(ValueError):  # whoever gave us the turn has taken us out already
                self._waiting.remove(waiting)

    def leave_line(self, who: object) -> None:
        """Give the place of ``who`` to others, if he is in line: his :meth:`lease` is cancelled."""
        for waiting in self._waiting:
            if waiting.who is who:
                waiting.turn.cancel()
                self._next()  # those behind him may be content with less
                return

    async def _connect(self) -> OriginConnection:
        key, pools = self.key, self._pools
        connection = OriginConnection(self)
        outer: OriginConnection | OriginTransport = connection
        if key.scheme == "https":
            tls = pools.contexts.connection(key, key.identity)
            outer = OriginTransport(pools, tls, connection)
        await connect_to_origin(pools.reactor, key.addresses, key.port, self.limits, lambda: outer)
        try:
            # The TLS handshake has as long again as the TCP one.
            await connection.ready.addTimeout(self.limits.connect_seconds, pools.clock)
        except DeferredTimeout:
            outer.abort()
            raise OriginFailure(Reason.CONNECT_TIMEOUT) from None
        except CancelledError:
            outer.abort()
            raise
        if key.scheme == "https":
            try:
                key.identity.check(connection.transport.getHandle())
            except OriginFailure:
                connection.abort()
                raise
            self._fresh.add(connection)
        return connection

    def release(self, connection: OriginConnection, *, reusable: bool) -> None:
        """Take back a connection whose exchange has ended. One that is not reusable, or is one too
        many, is not kept; the former is closed by whoever says so."""
        self._busy -= 1
        if connection in self._fresh:
            self._fresh.remove(connection)
            if connection.used:
                self._pools.contexts.keep_session(self.key, connection.transport.getHandle())
        if reusable:
            pools = self._pools
            seconds = self._idle_seconds()
            if seconds <= 0 or pools.stopped:
                connection.close()
            else:
                connection.idle_since = pools.clock.seconds()
                self._idle.append(connection)
                pools.idle += 1
                self.deadlines.set(connection, seconds)
        self._next()

    def _idle_seconds(self) -> float:
        """Return for how long one more connection is kept; 0: not at all."""
        limits, idle, of_all = self.limits, len(self._idle), self._pools.idle
        if idle < limits.pooled_per_origin:
            return limits.pooled_idle_seconds if of_all < limits.pooled_total else 0
        # What one origin's burst leaves behind takes no more than half of what all may keep.
        if idle < limits.origin_exchanges and of_all < limits.pooled_total // 2:
            return limits.pooled_burst_seconds
        return 0

    def _next(self) -> None:
        """Let the first in line go ahead; with nobody in line and nothing kept, end."""
        if self._calling:  # by one who gave his turn back at once: the loop below goes on
            return
        self._calling = True
        try:
            while self._waiting:
                first = self._waiting[0]
                settled, connection = self._settle(replayable=first.replayable, new=first.new)
                if not settled:
                    break
                self._waiting.popleft()
                first.turn.callback(connection)
        finally:
            self._calling = False
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
    :ivar connections: TLS connections that still shake hands.
    :ivar successor: none: what is only being connected when we stop is of no use to anybody.
    """

    def __init__(
        self,
        *,
        reactor: ProxyReactor,
        deadlines: Deadlines,
        limits: Limits,
        trust_root: Any = None,
    ) -> None:
        """:param trust_root: see :class:`~watchducks.proxy.origin_tls.OriginContexts`."""
        self.reactor = reactor
        self.clock: IReactorTime = reactor
        self.deadlines = deadlines
        self.limits = limits
        self.contexts = OriginContexts(trust_root, clock=self.clock)
        self.connections: set[Any] = set()
        self.successor = False
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
        if held is not None and held[0] is route and not held[1].forgotten:
            return held[1]
        key = OriginKey.of(route, visitor_scheme)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = OriginPool(self, key)
        if len(self._by_site) >= _KEPT_SITES:
            self._by_site.clear()
            for known in self._pools.values():
                known.sites.clear()
        self._by_site[site] = (route, pool)
        pool.sites.add(site)
        return pool

    def __len__(self) -> int:
        return len(self._pools)

    def forget(self, pool: OriginPool) -> None:
        """Called by a pool that is unused."""
        pool.forgotten = True
        # Sites come and go: who does not come again shall not keep his route and this pool.
        for site in pool.sites:
            held = self._by_site.get(site)
            if held is not None and held[1] is pool:
                del self._by_site[site]
        pool.sites.clear()
        if self._pools.get(pool.key) is pool:
            del self._pools[pool.key]

    def stop(self) -> None:
        """Close every kept connection and keep no more."""
        self.stopped = True
        for connection in list(self.connections):
            connection.abort()
        for pool in list(self._pools.values()):
            pool.close_idle()
            if pool.unused:
                self.forget(pool)
