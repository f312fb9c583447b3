"""The cache of a single process: a bounded LRU, and publish/subscribe within the process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

# Routes and answers of the statistics API; a host that needs more of them has a Redis.
MAX_ENTRIES: Final = 50_000
MAX_BYTES: Final = 64 * 1024 * 1024
# What an entry costs beside its key and value: the dictionary's place, a tuple, a float, headers.
ENTRY_BYTES: Final = 200


class MemoryCache:
    """A :class:`~watchducks.stores.interfaces.Cache` that lives and dies with its process.

    Never raises StoreUnavailable. The least recently used entries go first.

    :param clock: tells how old an entry is.
    """

    def __init__(
        self,
        clock: IReactorTime,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._log = Logger()
        self._clock = clock
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        # key -> (end of its life, value), the least recently used first
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()
        self._bytes = 0
        self._listeners: dict[str, list[Callable[[bytes], None]]] = {}

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Forget everything, the listeners too."""
        self._entries.clear()
        self._bytes = 0
        self._listeners.clear()

    async def get(self, key: str) -> bytes | None:
        """Return the value, or None if there is none (any more)."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        until, value = entry
        if self._clock.seconds() >= until:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return value

    async def set(self, key: str, value: bytes, life_seconds: float) -> None:
        """Keep ``value`` for at most ``life_seconds``; one larger than the whole cache is not."""
        self._forget(key)
        if _size(key, value) > self._max_bytes:
            return
        self._entries[key] = (self._clock.seconds() + life_seconds, value)
        self._bytes += _size(key, value)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._forget(next(iter(self._entries)))

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget the keys; missing ones are ignored."""
        for key in keys:
            self._forget(key)

    async def publish(self, channel: str, message: bytes) -> None:
        """Call every listener of this process."""
        for listener in list(self._listeners.get(channel, ())):
            try:
                listener(message)
            except Exception:  # a listener's fault is not the publisher's
                self._log.failure("a listener of {channel} failed", channel=channel)

    def subscribe(self, channel: str, listener: Callable[[bytes], None]) -> Callable[[], None]:
        """Call ``listener`` for each message from now on; returns the function that ends it."""
        return add_listener(self._listeners, channel, listener)

    def _forget(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _size(key, entry[1])


def _size(key: str, value: bytes) -> int:
    return ENTRY_BYTES + len(key) + len(value)


def add_listener(
    listeners: dict[str, list[Callable[[bytes], None]]],
    channel: str,
    listener: Callable[[bytes], None],
) -> Callable[[], None]:
    """Add ``listener`` to its channel; returns the function that takes it away again, once."""
    listeners.setdefault(channel, []).append(listener)
    ended = False

    def unsubscribe() -> None:
        nonlocal ended
        # A stopped cache has dropped its listeners by itself.
        if ended or channel not in listeners:
            return
        ended = True
        listeners[channel].remove(listener)
        if not listeners[channel]:
            del listeners[channel]

    return unsubscribe
