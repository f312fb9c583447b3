"""The mailbag: letters that wait in the registry, sent at least once and in order."""

from __future__ import annotations

from collections.abc import Callable, Collection

from sqlalchemy import Connection
from twisted.internet.interfaces import IReactorTime

from watchducks.model.letters import Letter, LetterState, PostedLetter
from watchducks.model.subjects import Subject, Subscription
from watchducks.registry import letters, unwanted
from watchducks.registry.registry import Registry
from watchducks.registry.statements import lock


class Mailbag:
    """Takes letters (:class:`watchducks.model.letters.Post`) and gives them to whoever sends them.

    Several hosts may send: the registry gives each letter to one at a time. Every method may raise
    StoreUnavailable.

    :param nudge: called after each letter that was taken, so that it is sent soon.
    """

    def __init__(self, registry: Registry, *, clock: IReactorTime) -> None:
        self._registry = registry
        self._clock = clock
        self._nudges: list[Callable[[], None]] = []

    def on_post(self, nudge: Callable[[], None]) -> None:
        """Call ``nudge()`` after each letter that this process posts."""
        self._nudges.append(nudge)

    async def post(self, letter: Letter) -> bool:
        """See :class:`watchducks.model.letters.Post`."""
        now = self._now()

        def write(connection: Connection) -> bool:
            lock(connection)
            return letters.post(connection, letter, now)

        kept = await self._registry.write(write)
        if kept:
            self.nudge()
        return kept

    def nudge(self) -> None:
        """Have sent soon what somebody has posted in a transaction of his own."""
        for nudge in self._nudges:
            nudge()

    async def take_due(self, limit: int) -> list[PostedLetter]:
        """Return letters to be sent now, that nobody else sends for a while."""
        now = self._now()
        if not await self._registry.read(lambda connection: letters.any_due(connection, now)):
            return []

        def write(connection: Connection) -> list[PostedLetter]:
            lock(connection)
            return letters.take_due(connection, now, limit)

        return await self._registry.write(write)

    async def keep_sent(self, posted: PostedLetter) -> None:
        """Keep that a mail server has taken a letter."""
        now = self._now()
        await self._registry.write(
            lambda connection: letters.keep_sent(connection, posted.number, now)
        )

    async def keep_failed(
        self, posted: PostedLetter, reason: str, *, final: bool = False
    ) -> LetterState:
        """Keep that a letter could not be sent; returns whether it will be tried again."""
        now = self._now()
        return await self._registry.write(
            lambda connection: letters.keep_failed(connection, posted, reason, now, final=final)
        )

    async def unwanted(self, email: str) -> frozenset[tuple[int, Subject]]:
        """Return what an address wants no letters about: ids of sites, and subjects."""
        return await self._registry.read(lambda connection: unwanted.of_address(connection, email))

    async def stop(self, one: Subscription) -> None:
        """Post no more letters of this kind to this address, and give up those that wait."""
        now = self._now()

        def write(connection: Connection) -> None:
            lock(connection)
            unwanted.stop(connection, one, now)

        await self._registry.write(write)

    async def choose(self, email: str, site_id: int, not_wanted: Collection[Subject]) -> None:
        """Replace what an address wants no letters about, of one site."""
        now = self._now()

        def write(connection: Connection) -> None:
            lock(connection)
            unwanted.choose(connection, email, site_id, not_wanted, now)

        await self._registry.write(write)

    async def counted(self) -> dict[LetterState, int]:
        """Return how many letters there are in each state."""
        return await self._registry.read(letters.counted)

    async def latest(self, state: LetterState, limit: int) -> list[PostedLetter]:
        """Return letters in one state, the latest first."""
        return await self._registry.read(
            lambda connection: letters.latest(connection, state, limit)
        )

    def _now(self) -> int:
        return int(self._clock.seconds())
