"""Upkeep of the log store: roll-ups of what is over, anew where rows came late; old rows go.

A step at a time: what the ledger says -> what can be made -> noted -> made -> published (planning,
rolling). Several hosts may do this at the same time, and any of them may die between two
statements: the ledger says what counts. What nobody finishes is given up after a while, and made
again.

While nothing is new it asks one small question a turn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.analytics.ledger import Ledger
from watchducks.analytics.planning import Planner
from watchducks.analytics.rolling import Roller, Work, read_ledger
from watchducks.analytics.rollups import HOUR
from watchducks.analytics.schema import Schema
from watchducks.analytics.sweeping import Sweeper
from watchducks.background import Repeating
from watchducks.model.metrics import Sample, gauge
from watchducks.stores.interfaces import LogStore, StoreRefused, StoreUnavailable

# An hour is rolled up this much later at worst, and late rows cost questions some speed, no more.
UPKEEP_SECONDS: Final = 15.0
# Before rows come that questions must not count yet, all must know of it: they believe what they
# know for two seconds (reading), and a question may have stood in a line with many others. That
# goes for hours that nobody has rolled up, too: another host may be about to.
KNOWN_SECONDS: Final = 15.0
# A batch takes some minutes at most, and one that somebody begun longer ago is nobody's any more.
GIVEN_UP_SECONDS: Final = 1200
# After so many steps others have their turn; then it goes on.
MOST_STEPS: Final = 100


class Upkeep:
    """A Part.

    :ivar made: batches that were made here.
    """

    _log = Logger()

    def __init__(
        self,
        store: LogStore,
        schema: Schema,
        raw_days: int,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param raw_days: how long rows of single requests are kept.

        :param now: POSIX seconds.
        """
        self._store = store
        self._schema = schema
        self._clock = clock
        self._now = now
        self._planner = Planner(store, raw_days, now=now)
        self._roller = Roller(store, clock=clock)
        self._sweeper = Sweeper(store, raw_days, now=now)
        # Hosts that were started together do not begin with the same hour at the same time.
        interval = UPKEEP_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311  no secret
        self._repeating = Repeating(
            self._turn, interval, clock=clock, log=self._log, name="upkeep of the log store"
        )
        self._ledger: Ledger | None = None
        self.made = 0

    async def start(self) -> None:
        self._repeating.start()

    async def stop(self) -> None:
        await self._repeating.stop()

    def samples(self) -> Iterable[Sample]:
        """What is behind, as far as this host knows."""
        if self._ledger is None:
            return
        over = self._now() - self._ledger.rolled_until - HOUR
        yield gauge(
            "watchducks_rollups_lag_seconds",
            "Since when the oldest hour without roll-ups is over.",
            max(0.0, over),
        )
        yield gauge(
            "watchducks_rollups_doubted",
            "Hours whose roll-ups lack rows that came late.",
            float(len({doubt.hour for doubt in self._ledger.doubts})),
        )

    async def _turn(self) -> None:
        if not self._schema.ready:
            return
        try:
            await self._sweeper.drop_old_days()
            for _ in range(MOST_STEPS):
                if not await self.step():
                    return
        except (StoreUnavailable, StoreRefused) as error:
            self._log.warn("upkeep of the log store waits: {error}", error=str(error))

    async def step(self) -> bool:
        """Make what can be made now, or put the ledger in order; return whether there was any.

        :raises StoreUnavailable, StoreRefused: not now.
        """
        # What is made of rows, or by what the ledger says, is made where all of it is.
        await self._store.settled()
        self._ledger = ledger = await read_ledger(self._store)
        for day in ledger.days.values():
            for batch in day.open:
                if batch.age >= GIVEN_UP_SECONDS:
                    self._log.info("roll-ups that somebody began are given up")
                    await self._roller.abandon(batch)
        works = await self._planner.works(ledger)
        if not works:
            return await self._sweeper.sweep(ledger)
        await self._make(works)
        return True

    async def _make(self, works: Sequence[Work]) -> None:
        await self._roller.begin(works)
        left = list(works)
        try:
            # Whichever server is asked: it knows what must not count before that is there, and has
            # it before it counts.
            await self._store.settled()
            if any(work.batch.units for work in works):
                await deferLater(self._clock, KNOWN_SECONDS)
            while left:
                await self._roller.make(left[0])
                await self._store.settled()
                await self._roller.publish(left[0].batch)
                left.pop(0)
                self.made += 1
        except (StoreUnavailable, StoreRefused):
            # It is not known what is there by now: they are made again, from the beginning.
            for work in left:
                await self._roller.abandon(work.batch)
            raise
