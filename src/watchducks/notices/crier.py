"""The crier: looks at what was measured, and posts what owners should be told.

Each host with a console has one; the registry posts each topic once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.analytics.periods import DAY, MINUTE, Period
from watchducks.analytics.results import Failover, PathTraffic, SiteTotals, Status, Traffic
from watchducks.background import Repeating
from watchducks.model.accounts import EVERYBODY, Viewer
from watchducks.model.letters import Post
from watchducks.model.sites import Site
from watchducks.notices import rules
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

FAILOVER_INTERVAL_SECONDS: Final = 60.0
# An hour's alerts are told within a quarter of an hour of its end.
HOUR_INTERVAL_SECONDS: Final = 900.0
# Rows may reach the log store late: so long after an hour or a week its figures are looked at.
SETTLED_SECONDS: Final = 5 * MINUTE
# Sites asked about at a time: one query each for the hour and the days before.
PAGE_SITES: Final = 100


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often a crier looks, and what is worth telling by its time.

    :ivar failover_seconds: between two looks at failovers. :ivar hour_seconds: at hours and weeks.
    :ivar brief_seconds: a failover that is over by then is told to nobody.
    :ivar week_news_seconds: for so long after its end a week is reported.
    """

    failover_seconds: float = FAILOVER_INTERVAL_SECONDS
    hour_seconds: float = HOUR_INTERVAL_SECONDS
    brief_seconds: float = rules.FAILOVER_SECONDS
    week_news_seconds: float = DAY


USUAL: Final = Rhythm()


class Figures(Protocol):
    """What was measured: :class:`watchducks.analytics.queries.Analytics`, which says more. Every
    method may raise StoreUnavailable or StoreRefused."""

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """Return when visitors were led to the origins."""

    async def traffic(self, site_id: int, period: Period) -> Traffic:
        """Return requests over time."""

    async def status(self, site_id: int, period: Period) -> Status:
        """Return answers by class over time."""

    async def paths(self, site_id: int, period: Period, limit: int = 10) -> tuple[PathTraffic, ...]:
        """Return the paths with the most requests."""

    async def totals(self, site_ids: Sequence[int], period: Period) -> dict[int, SiteTotals]:
        """Return site id -> its figures of a period."""

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        """Return site id -> requests."""


class Sites(Protocol):
    """The sites: :class:`watchducks.registry.registry.Registry`. It may raise StoreUnavailable."""

    async def sites(
        self, cohort: str | None = None, after: str | None = None, limit: int = 100, *,
        viewer: Viewer,
    ) -> list[Site]:  # fmt: skip
        """Return a page of sites by name; ``after``: the last name of the page before."""


class Crier:
    """A part."""

    _log = Logger()

    def __init__(
        self,
        sites: Sites,
        figures: Figures,
        post: Post,
        *,
        clock: IReactorTime,
        rhythm: Rhythm = USUAL,
    ) -> None:
        self._rhythm = rhythm
        self._sites = sites
        self._figures = figures
        self._post = post
        self._clock = clock
        # The beginnings of what this process has looked through already.
        self._hour = self._week = 0
        self._failovers = Repeating(
            self._tell_of_failovers,
            rhythm.failover_seconds,
            clock=clock,
            log=self._log,
            name="telling of failovers",
        )
        self._hours = Repeating(
            self._tell_of_hours,
            rhythm.hour_seconds,
            clock=clock,
            log=self._log,
            name="alerts and reports",
        )

    async def start(self) -> None:
        """Begin to look."""
        self._failovers.start()
        self._hours.start()

    async def stop(self) -> None:
        """Break off; what was not told is told after the next start."""
        await self._hours.stop()
        await self._failovers.stop()

    # --------------------------------------------------------------------------------------------

    async def _tell_of_failovers(self) -> None:
        try:
            now = self._clock.seconds()
            found = await self._figures.failovers(_until(now, rules.FAILOVER_NEWS_SECONDS))
            if not found:
                return
            every = [site async for page in self._pages() for site in page]
            brief = self._rhythm.brief_seconds
            for letter in rules.failover_letters(found, rules.carried(every), now, brief=brief):
                _ = await self._post.post(letter)
        except (StoreUnavailable, StoreRefused) as error:
            self._log.info("failovers are not looked at: {error}", error=str(error))

    async def _tell_of_hours(self) -> None:
        settled = self._clock.seconds() - SETTLED_SECONDS
        hour, week = rules.last_hour(settled), rules.last_week(settled)
        try:
            if hour.start != self._hour:
                await self._tell_of_hour(hour)
                self._hour = hour.start
            # A host that was away for the Monday tells on Tuesday; who starts later tells nobody
            # of a week that is long over.
            if week.start != self._week:
                if settled - week.end < self._rhythm.week_news_seconds:
                    await self._tell_of_week(week)
                self._week = week.start
        except (StoreUnavailable, StoreRefused) as error:
            self._log.info("figures are not looked at: {error}", error=str(error))

    async def _tell_of_hour(self, hour: Period) -> None:
        observed = not rules.overlaps(await self._figures.failovers(hour), hour)
        async for page in self._pages():
            ids = [site.id for site in page]
            now = await self._figures.totals(ids, hour)
            days = range(1, rules.USUAL_DAYS + 1)
            before = [
                await self._figures.requests_by_site(ids, rules.shifted(hour, day * DAY))
                for day in days
            ]
            for site in page:
                totals = now.get(site.id, SiteTotals.nothing())
                errors = await self._errors(site, hour) if rules.worth_errors(totals) else None
                usual = [counts.get(site.id, 0) for counts in before]
                seen = rules.Hour(hour.start, totals.requests, usual, errors)
                for letter in rules.alerts(site, seen, observed=observed):
                    _ = await self._post.post(letter)

    async def _tell_of_week(self, week: Period) -> None:
        figures = self._figures
        failovers = await figures.failovers(week)
        async for page in self._pages():
            ids = [site.id for site in page]
            now = await figures.totals(ids, week)
            before = await figures.totals(ids, rules.shifted(week, rules.WEEK))
            for site in page:
                totals = now.get(site.id)
                if totals is None or totals.requests == 0:
                    continue
                letter = rules.report(
                    site,
                    week,
                    await figures.traffic(site.id, week),
                    totals,
                    before.get(site.id, SiteTotals.nothing()),
                    await self._errors(site, week),
                    await figures.paths(site.id, week, rules.REPORTED_PATHS),
                    failovers,
                )
                if letter is not None:
                    _ = await self._post.post(letter)

    async def _errors(self, site: Site, period: Period) -> int:
        status = await self._figures.status(site.id, period)
        return sum(point.server_error for point in status.points)

    async def _pages(self) -> AsyncIterator[list[Site]]:
        """Return all sites that are known to somebody, a page at a time."""
        after: str | None = None
        while page := await self._sites.sites(after=after, limit=PAGE_SITES, viewer=EVERYBODY):
            yield [site for site in page if not site.contender]
            if len(page) < PAGE_SITES:
                return
            after = page[-1].name


def _until(now: float, seconds: int) -> Period:
    """Return the last so many seconds, to the minute."""
    end = int(now) // MINUTE * MINUTE + MINUTE
    return Period(end - seconds, end, MINUTE, int(now) + 1)
