"""The questions with their answers kept: what the console asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import cache
from typing import Any, TypeVar, get_type_hints

from watchducks.analytics.cohorts import RankedBy
from watchducks.analytics.facets import MOST_ROWS
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.kept import LIVE_SECONDS, KeptAnswers, Question, fresh_seconds
from watchducks.analytics.periods import Period
from watchducks.analytics.queries import Analytics
from watchducks.analytics.results import (
    Annotation,
    Dns,
    FacetRow,
    Failover,
    Latency,
    Live,
    Lost,
    Overview,
    PathTraffic,
    Ranking,
    ReferrerTraffic,
    SiteAnnotation,
    SiteSeries,
    SiteTotals,
    Status,
    Traffic,
    Visitors,
)

T = TypeVar("T")


class CachedAnalytics:
    """:class:`~watchducks.analytics.queries.Analytics`, which says what its methods return.

    Every method may raise StoreUnavailable or StoreRefused, when there is no last answer either.
    """

    def __init__(self, analytics: Analytics, answers: KeptAnswers) -> None:
        self._analytics = analytics
        self._answers = answers

    @property
    def is_stale(self) -> bool:
        """Whether the log store is away, and answers are the last ones."""
        return self._answers.is_stale

    @property
    def outdated(self) -> int:
        """See :class:`~watchducks.analytics.kept.KeptAnswers`."""
        return self._answers.outdated

    @property
    def known_version(self) -> str | None:
        """See :class:`~watchducks.analytics.pulse.Pulse`."""
        return self._answers.pulse.known

    async def version(self) -> str:
        """See :class:`~watchducks.analytics.pulse.Pulse`."""
        return await self._answers.pulse.version()

    async def traffic(self, site_id: int, period: Period, filters: Filters = NONE) -> Traffic:
        """See Analytics."""
        return await self._ask(self._analytics.traffic, site_id, period, filters)

    async def latency(self, site_id: int, period: Period, filters: Filters = NONE) -> Latency:
        """See Analytics."""
        return await self._ask(self._analytics.latency, site_id, period, filters)

    async def status(self, site_id: int, period: Period, filters: Filters = NONE) -> Status:
        """See Analytics."""
        return await self._ask(self._analytics.status, site_id, period, filters)

    async def visitors(self, site_id: int, period: Period, filters: Filters = NONE) -> Visitors:
        """See Analytics."""
        return await self._ask(self._analytics.visitors, site_id, period, filters)

    async def facet(
        self,
        site_id: int,
        period: Period,
        facet: str,
        *,
        order: str = "requests",
        limit: int = MOST_ROWS,
        filters: Filters = NONE,
    ) -> tuple[FacetRow, ...]:
        """See Analytics."""
        return await self._ask(
            self._analytics.facet, site_id, period, facet, order=order, limit=limit, filters=filters
        )

    async def paths(
        self,
        site_id: int,
        period: Period,
        limit: int = 10,
        filters: Filters = NONE,
        order: str = "requests",
    ) -> tuple[PathTraffic, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.paths, site_id, period, limit, filters, order)

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10, filters: Filters = NONE
    ) -> tuple[ReferrerTraffic, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.referrers, site_id, period, limit, filters)

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        """See Analytics."""
        return await self._ask(self._analytics.requests_by_site, tuple(site_ids), period)

    async def totals(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> dict[int, SiteTotals]:
        """See Analytics."""
        return await self._ask(self._analytics.totals, tuple(site_ids), period, filters)

    async def overview(
        self,
        site_ids: Sequence[int],
        period: Period,
        filters: Filters = NONE,
        unranked: Collection[int] = (),
    ) -> Overview:
        """See Analytics."""
        return await self._ask(
            self._analytics.overview, tuple(site_ids), period, filters, tuple(unranked)
        )

    async def ranking(self, site_ids: Sequence[int], period: Period, by: RankedBy) -> Ranking:
        """See Analytics."""
        return await self._ask(self._analytics.ranking, tuple(site_ids), period, by)

    async def compare(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> tuple[SiteSeries, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.compare, tuple(site_ids), period, filters)

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.failovers, period)

    async def lost(self, site_id: int, period: Period) -> tuple[Lost, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.lost, site_id, period)

    async def annotations(self, site_id: int, period: Period) -> tuple[Annotation, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.annotations, site_id, period)

    async def lately(self, site_ids: Sequence[int], period: Period) -> tuple[SiteAnnotation, ...]:
        """See Analytics."""
        return await self._ask(self._analytics.lately, tuple(site_ids), period)

    async def dns(self, zone: str, period: Period, networks: int = 10) -> Dns:
        """See Analytics."""
        return await self._ask(self._analytics.dns, zone, period, networks)

    async def live(self, site_id: int) -> Live:
        """See Analytics."""
        return await self._ask(self._analytics.live, site_id)

    async def _ask(self, method: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> T:
        period = next((value for value in args if isinstance(value, Period)), None)

        async def fresh() -> float:
            if period is None:
                return LIVE_SECONDS
            reader = self._analytics.reader
            return fresh_seconds(period, reader.now(), (await reader.known()).corrected)

        name = method.__name__
        return await self._answers.get(
            _question(name, args, kwargs), _type_of(name), lambda: method(*args, **kwargs), fresh
        )


def _question(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Question:
    """Return the question of a method's arguments.

    What a period that is not over depends on is not when exactly it was asked for; and the last
    answer of such a period stands for the next one, too.
    """
    others = [value for value in args if not isinstance(value, Period)]
    period = next((value for value in args if isinstance(value, Period)), None)
    common = (*others, *sorted(kwargs.items()))
    if period is None:
        return Question(name, common, None, ages=True)
    about = (*common, period.start, period.data_end, period.bucket, period.begins)
    goes_on = period.until < period.end and not period.is_cut
    # Buckets of hours and days begin at others' in another time zone.
    phase = period.start % period.bucket
    shape = (*common, period.bucket, len(period.times), phase) if goes_on else None
    return Question(name, about, shape)


@cache
def _type_of(name: str) -> Any:
    """Return what a method returns."""
    return get_type_hints(getattr(Analytics, name))["return"]
