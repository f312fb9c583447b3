"""The shared cache: Redis, spoken to with txredisapi.

txredisapi's protocols are used, its connection pool is not: that one stops for ever when a login or
a SELECT fails once (a Redis that is still loading its data refuses both), and lets callers wait for
a connection without a limit. Here a connection is made again and again, with back-off, and a call
while there is none fails at once.

Importing txredisapi installs a reactor: import this module after the reactor was chosen.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import txredisapi
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError, Tasks
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.memory import add_listener

# The seam's promise: an answer or StoreUnavailable within this time.
CALL_SECONDS: Final = 2.0
# Between attempts to connect: soon after a restart, gentle to a host that is down for long.
FIRST_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 5.0
# Commands on the one connection that wait for their answers; Redis answers some hundred a
# millisecond, so this many waiting means that it does not answer at all.
MAX_WAITING: Final = 1000
# A subscription that says nothing may be a dead connection; this often it is asked for a sign.
PING_SECONDS: Final = 10.0
# Other programs may use the same database.
PREFIX: Final = "watchducks:"
DEFAULT_PORT: Final = 6379


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is, and how to log in."""

    host: str
    port: int
    database: int
    username: str | None
    password: str | None = field(repr=False)

    @property
    def label(self) -> str:
        """The server as messages name it: without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"Redis on {host}:{self.port}"


def parse_redis_url(url: str) -> RedisAddress:
    """Read ``redis://[[user]:password@]host[:port][/database]``.

    :raises StartupError: it is none. The text does not repeat it: it may hold a password.
    """
    wrong = StartupError("cache.url: accepted is redis://:password@host:6379/0")
    try:
        parts = urlsplit(url)
        port = DEFAULT_PORT if parts.port is None else parts.port
    except ValueError:
        raise wrong from None
    database = parts.path.removeprefix("/") or "0"
    if (
        parts.scheme != "redis"
        or not parts.hostname
        or parts.query
        or parts.fragment
        or not (database.isascii() and database.isdigit() and len(database) <= 5)
    ):
        raise wrong
    return RedisAddress(
        host=parts.hostname,
        port=port,
        database=int(database),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
    )


class RedisCache:
    """A :class:`~watchducks.stores.interfaces.Cache` on one Redis: a connection for the calls, and
    one for the subscriptions, because Redis takes no other commands on that.

    :param reactor: provides IReactorTCP (and name resolution) and IReactorTime.
    """

    def __init__(self, address: RedisAddress, *, reactor: Any) -> None:
        self._log = Logger()
        self._reactor = reactor
        self._label = address.label
        self._tasks = Tasks(self._log)
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}
        self._calls = _Connection(
            address, txredisapi.RedisProtocol, self._nothing_to_prepare, self._log, reactor=reactor
        )
        self._messages = _Connection(
            address, txredisapi.SubscriberProtocol, self._resubscribe, self._log, reactor=reactor
        )
        self._pings = Repeating(
            self._ping, PING_SECONDS, clock=reactor, log=self._log, name="pinging Redis"
        )

    async def start(self) -> None:
        """Connect; a Redis that is not there yet is tried again for ever."""
        for connection in (self._calls, self._messages):
            first_try = connection.first_try()
            self._tasks.start(connection.keep(), f"the connection to {self._label}")
            with suppress(DeferredTimeout):
                await first_try.addTimeout(CALL_SECONDS, self._reactor)
        self._pings.start()

    async def stop(self) -> None:
        """Disconnect; afterwards no listener is called."""
        self._listeners.clear()
        await self._pings.stop()
        await self._tasks.stop()

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none (any more)."""
        value = await self._calls.call("GET", PREFIX + key)
        return None if value is None else bytes(value)

    async def set(self, key: str, value: bytes, life_seconds: float) -> None:
        """Keep ``value`` for at most ``life_seconds``."""
        milliseconds = max(1, int(life_seconds * 1000))
        await self._calls.call("SET", PREFIX + key, value, "PX", milliseconds)

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget the keys; missing ones are ignored."""
        if keys:
            await self._calls.call("DEL", *(PREFIX + key for key in keys))

    async def publish(self, channel: str, message: bytes) -> None:
        """Tell every present subscriber in every process."""
        await self._calls.call("PUBLISH", channel, message)

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``listener`` for each message from now on; returns the function that ends it."""
        remove = add_listener(self._listeners, channel, listener)
        self._tasks.start(self._agree(channel), f"subscribing to {channel}")

        def unsubscribe() -> None:
            remove()
            self._tasks.start(self._agree(channel), f"unsubscribing from {channel}")

        return unsubscribe

    # --------------------------------------------------------------------------------------------

    async def _nothing_to_prepare(self, _protocol: Any) -> None:
        pass

    async def _resubscribe(self, protocol: Any) -> None:
        protocol.messageReceived = self._received
        for channel in list(self._listeners):
            await _answer(protocol, self._reactor, "SUBSCRIBE", channel)

    async def _agree(self, channel: str) -> None:
        """Make Redis's idea of the channel ours. Without a connection, the next one begins so."""
        command = "SUBSCRIBE" if channel in self._listeners else "UNSUBSCRIBE"
        with suppress(StoreUnavailable):
            await self._messages.call(command, channel)

    async def _ping(self) -> None:
        # What does not answer is aborted by `call`, and connected to again.
        with suppress(StoreUnavailable):
            await self._messages.call("PING")

    def _received(self, _pattern: object, channel: bytes, message: bytes) -> None:
        for listener in list(self._listeners.get(channel.decode("utf-8", "replace"), ())):
            try:
                listener(bytes(message))
            except Exception:  # must not end the connection, nor keep it from the others
                self._log.failure("a listener of {channel} failed", channel=channel)


class _Connection:
    """One connection, made again whenever it is lost.

    :param prepare: what is done with a new connection before it counts as made.
    """

    def __init__(
        self,
        address: RedisAddress,
        protocol: Callable[..., Any],
        prepare: Callable[[Any], Awaitable[None]],
        log: Logger,
        *,
        reactor: Any,
    ) -> None:
        self._address = address
        self._factory = _Factory(protocol, address)
        self._prepare = prepare
        self._log = log
        self._reactor = reactor
        self._endpoint = HostnameEndpoint(
            reactor, address.host.encode("idna"), address.port, timeout=CALL_SECONDS
        )
        self._retry = backoffPolicy(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS, 2.0)
        self._protocol: Any = None  # None: not connected
        self._why = "not tried yet"
        self._first_try: Deferred[None] | None = None

    def first_try(self) -> Deferred[None]:
        """Return what fires after the first attempt to connect, whatever came of it."""
        self._first_try = Deferred()
        return self._first_try

    async def call(self, *command: object) -> Any:
        """Return Redis's answer to one command.

        :raises StoreUnavailable: there is no connection, or no answer in time, or a refusal.
        """
        if self._protocol is None:
            raise StoreUnavailable(f"{self._address.label} is not connected: {self._why}")
        if len(self._protocol.replyQueue.waiting) >= MAX_WAITING:
            raise StoreUnavailable(f"{self._address.label} is too busy")
        try:
            return await _answer(self._protocol, self._reactor, *command)
        except txredisapi.RedisError as error:
            raise StoreUnavailable(f"{self._address.label}: {error}") from error

    async def keep(self) -> None:
        """Be connected, until cancelled."""
        failures = 0
        while True:
            try:
                protocol = await self._connect()
            except CancelledError:
                raise
            except Exception as error:
                if failures == 0:  # said once, not at each attempt
                    self._log.warn(
                        "cannot connect to {server}: {error}",
                        server=self._address.label,
                        error=str(error),
                    )
                failures += 1
                self._why = str(error)
                self._tried()
            else:
                failures = 0
                await self._use(protocol)
            await deferLater(self._reactor, self._retry(failures))

    async def _use(self, protocol: Any) -> None:
        """Offer the connection to the callers for as long as it lasts."""
        lost = protocol.whenDisconnected()
        self._protocol = protocol
        self._tried()
        try:
            await lost
            self._why = "the connection was lost"
        finally:
            self._protocol = None
            protocol.transport.abortConnection()

    async def _connect(self) -> Any:
        protocol: Any = await self._endpoint.connect(self._factory)
        try:
            # From here on the protocol logs in and selects its database by itself.
            await protocol.usable.addTimeout(CALL_SECONDS, self._reactor)
            await self._prepare(protocol)
        except BaseException:
            protocol.transport.abortConnection()
            raise
        return protocol

    def _tried(self) -> None:
        first_try, self._first_try = self._first_try, None
        if first_try is not None and not first_try.called:
            first_try.callback(None)


class _Factory(Factory):
    """What txredisapi's protocols expect of their factory, without its pool."""

    noisy = False
    isLazy = False

    def __init__(self, protocol: Callable[..., Any], address: RedisAddress) -> None:
        self._make = protocol
        self._address = address

    def buildProtocol(self, _address: object) -> Any:
        protocol = self._make(
            charset=None,  # values are bytes, and stay it
            convertNumbers=False,
            username=self._address.username,
            password=self._address.password,
            dbid=self._address.database,
        )
        usable: Deferred[None] = Deferred()
        self._usable = usable
        protocol.usable = usable
        protocol.factory = self

        def connected(_protocol: object) -> None:
            if not usable.called:
                usable.callback(None)

        def disconnected(_protocol: object) -> None:
            if not usable.called:
                usable.errback(StoreUnavailable("the connection was closed at once"))

        protocol.whenConnected().addCallback(connected)
        protocol.whenDisconnected().addCallback(disconnected)
        return protocol

    def stopTrying(self) -> None:
        """A login that failed is tried again all the same: the server may be loading its data."""

    def connectionError(self, why: str) -> None:
        """The login or SELECT of the latest connection failed."""
        if not self._usable.called:
            self._usable.errback(StoreUnavailable(why))


async def _answer(protocol: Any, clock: Any, *command: object) -> Any:
    answer = protocol.execute_command(*command)
    answer.addTimeout(CALL_SECONDS, clock)
    try:
        return await answer
    except DeferredTimeout:
        # Answers come in order: behind the one that is missing, none is of use.
        protocol.transport.abortConnection()
        raise StoreUnavailable(f"Redis did not answer within {CALL_SECONDS:g} s") from None
