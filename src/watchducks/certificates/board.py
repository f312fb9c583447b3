"""The board: where answers to challenges hang, for every name server and proxy of the appliance.

They travel through the registry's database. Each process looks there once a second, and at once
when another one says so over the cache; its own are answered at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import Repeating
from watchducks.model.challenges import Answers, Challenge
from watchducks.stores.interfaces import Cache, StoreUnavailable

LOOK_SECONDS: Final = 1.0
# Until everybody else has looked, and read what he saw.
SETTLE_SECONDS: Final = 2.0
CHANNEL: Final = "watchducks:challenges"


class Board(Protocol):
    """Where answers hang. Both methods may be called many times at once."""

    async def post(self, challenge: Challenge) -> None:
        """Return when everybody who may be asked answers it.

        :raises StoreUnavailable: it cannot be told to the others; asking would fail.
        """

    async def take_down(self, challenge: Challenge) -> None:
        """Answer it no more; nothing happens if it does not hang there. Never raises."""


class ChallengeStore(Protocol):
    """Where challenges are kept: :class:`watchducks.registry.vault.Vault`. Each method may raise
    StoreUnavailable."""

    async def challenges(self) -> list[Challenge]:
        """Return everything that has to be answered."""

    async def post_challenge(self, challenge: Challenge) -> None:
        """Have it answered."""

    async def remove_challenge(self, challenge: Challenge) -> None:
        """Have it answered no more."""


class SharedBoard:
    """The board of one process (:class:`watchducks.background.Part`).

    :param answers: what this process answers.
    :param settle_seconds: until others have what was posted here; 0: there are none.
    """

    def __init__(
        self,
        store: ChallengeStore,
        cache: Cache,
        answers: Answers,
        *,
        clock: IReactorTime,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._log = Logger()
        self._store = store
        self._cache = cache
        self._answers = answers
        self._clock = clock
        self._settle_seconds = settle_seconds
        self._changes = 0
        self._reachable = True
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=self._log, name="following challenges"
        )
        self._unsubscribe: Callable[[], None] = _not_subscribed

    async def start(self) -> None:
        """Follow what others post."""
        self._unsubscribe = self._cache.subscribe(CHANNEL, lambda _: self._looks.nudge())
        self._looks.start()

    async def stop(self) -> None:
        """Follow no more."""
        self._unsubscribe()
        await self._looks.stop()

    async def post(self, challenge: Challenge) -> None:
        """See :class:`Board`."""
        await self._store.post_challenge(challenge)
        self._changes += 1
        self._answers.replace(self._answers.all | {challenge})
        await self._announce()
        if self._settle_seconds:
            await deferLater(self._clock, self._settle_seconds)

    async def take_down(self, challenge: Challenge) -> None:
        """See :class:`Board`."""
        self._changes += 1
        self._answers.replace(self._answers.all - {challenge})
        try:
            await self._store.remove_challenge(challenge)
        except StoreUnavailable as error:
            # It is forgotten by its age.
            self._log.warn("a challenge stays for an hour: {error}", error=str(error))
            return
        await self._announce()

    async def _announce(self) -> None:
        try:
            await self._cache.publish(CHANNEL, b"")
        except StoreUnavailable as error:
            self._log.debug("a challenge was not announced: {error}", error=str(error))

    async def _look(self) -> None:
        changes = self._changes
        try:
            found = await self._store.challenges()
        except StoreUnavailable as error:
            if self._reachable:  # said once, not each second
                self._log.warn("challenges cannot be followed: {error}", error=str(error))
            self._reachable = False
            return
        self._reachable = True
        if changes == self._changes:  # else it was read before our own change
            self._answers.replace(found)


def _not_subscribed() -> None:
    pass
