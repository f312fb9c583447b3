"""Time limits that cost one dictionary entry instead of a timer each.

A busy proxy sets several limits a request, and nearly none of them ever runs out. They are looked
through a few times a second, which is exact enough for limits of seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from watchducks.proxy.limits import Limits

# Half of what a person notices; 5,000 connections take 0.3 ms to look through.
RESOLUTION_SECONDS: Final = 0.25


class Expiring(Hashable, Protocol):
    """What has a time limit: one at a time."""

    def expired(self) -> None:
        """The time is up. The limit is gone; set a new one if need be."""


class Deadlines:
    """The time limits of all connections. A limit never fires early, and at most two
    :data:`RESOLUTION_SECONDS` late."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._log = Logger()
        self._at: dict[Expiring, float] = {}
        self._now = clock.seconds()
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Begin to watch. Limits may be set before."""
        self._tick()

    def stop(self) -> None:
        """Stop watching; nothing expires any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._at.clear()

    def set(self, owner: Expiring, seconds: float) -> None:
        """Let ``owner`` expire in ``seconds``, whatever it had before."""
        # `_now` is up to one resolution old.
        self._at[owner] = self._now + seconds + RESOLUTION_SECONDS

    def clear(self, owner: Expiring) -> None:
        """Take back the limit of ``owner``, if it has one."""
        self._at.pop(owner, None)

    def _tick(self) -> None:
        now = self._now = self._clock.seconds()
        for owner in [owner for owner, at in self._at.items() if at <= now]:
            # One of those before may have cleared or renewed it.
            if self._at.get(owner, now + 1) > now:
                continue
            del self._at[owner]
            try:
                owner.expired()
            except Exception:
                self._log.failure("ending {owner!r} after its time limit failed", owner=owner)
        self._call = self._clock.callLater(RESOLUTION_SECONDS, self._tick)


class Pace:
    """How long one body may keep us waiting: bytes earn time, waiting spends it."""

    __slots__ = ("_bytes_per_second", "_clock", "_left", "_most", "_since")

    def __init__(self, clock: IReactorTime, most_seconds: float, bytes_per_second: float) -> None:
        """:param most_seconds: to begin with, and the most that bytes can earn."""
        self._clock = clock
        self._most = most_seconds
        self._bytes_per_second = bytes_per_second
        self._left = most_seconds
        self._since = clock.seconds()

    @classmethod
    def of_body(cls, clock: IReactorTime, limits: Limits) -> Pace:
        """Return that of a request's body, which begins now."""
        return cls(clock, limits.request_body_idle_seconds, limits.request_body_bytes_per_second)

    def seconds_left(self, received: int) -> float:
        """Return how long to wait for more, now that ``received`` bytes have come."""
        now = self._clock.seconds()
        left = self._left - (now - self._since) + received / self._bytes_per_second
        self._left = min(left, self._most)
        self._since = now
        return max(0.0, self._left)

    def go_on(self) -> None:
        """Spend no time for the wait that ends now: it was not the sender's."""
        self._since = self._clock.seconds()
