"""Questions about many sites: the overview of a cohort, rankings, sites beside each other."""

from __future__ import annotations

import math
from collections.abc import Collection, Coroutine, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal

from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.reading import ALL, Reader, Row
from watchducks.analytics.results import (
    Overview,
    RankedSite,
    Ranking,
    SiteSeries,
    SiteTotals,
    change,
    mean_ms,
    share,
)
from watchducks.background import together

# How many sites an overview shows by name.
TOP_SITES: Final = 5
# Lines that can be told apart in one chart.
MOST_COMPARED: Final = 10
# A site with fewer requests of people has no rank by rates and times: they say little about it.
MIN_RANKED_REQUESTS: Final = 100

RankedBy = Literal["traffic", "success-rate", "response-time", "visitors"]
PEOPLE: Final = Filters("people")

_TOTALS = (
    "requests",
    "informational",
    "success",
    "redirection",
    "visitors",
    "sent",
    "measured",
    "duration_sum",
    "durations",
)


class CohortQuestions:
    """Every method may raise StoreUnavailable or StoreRefused, and ValueError for more sites than
    :data:`~watchducks.analytics.reading.MOST_SITES`. No sites are no error."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        """Return site -> requests; silent ones are left out."""
        if not site_ids:
            return {}
        rows = await self.reader.traffic(site_ids, period, ["requests"], by_site=True)
        return {int(site): int(count) for site, count in rows if count}

    async def totals(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> dict[int, SiteTotals]:
        """Return site -> its figures; silent ones are left out."""
        if not site_ids:
            return {}
        rows = await self.reader.traffic(site_ids, period, _TOTALS, filters=filters, by_site=True)
        return {int(row[0]): _totals(row[1:]) for row in rows}

    async def overview(
        self,
        site_ids: Sequence[int],
        period: Period,
        filters: Filters = NONE,
        unranked: Collection[int] = (),
    ) -> Overview:
        """Return a cohort's figures as a whole, its busiest sites over time and its fastest.

        :param site_ids: of all its registered sites.
        :param unranked: those that are summed up, but named neither as busy nor as fast.
        """
        if not site_ids:
            return Overview(0, SiteTotals.nothing(), SiteTotals.nothing(), None, (), ())
        rows, before = await together(
            self.reader.traffic(
                site_ids, asked, _TOTALS, filters=filters, by_site=True, with_all=True
            )
            for asked in (period, period.before)
        )
        totals = {int(row[0]): _totals(row[1:]) for row in rows}
        whole = totals.pop(ALL, SiteTotals.nothing())
        earlier = next((_totals(row[1:]) for row in before if row[0] == ALL), SiteTotals.nothing())
        by_site = {site: of_site for site, of_site in totals.items() if site not in unranked}
        busiest = sorted(by_site, key=lambda site: (-by_site[site].requests, site))[:TOP_SITES]
        quickest = _ranked(by_site, "response-time")[:TOP_SITES]
        return Overview(
            len(site_ids),
            whole,
            earlier,
            change(whole.requests, earlier.requests),
            _series(busiest, by_site, await self._over_time(busiest, period, filters), period),
            tuple(site for site in quickest if site.rank is not None),
        )

    async def ranking(self, site_ids: Sequence[int], period: Period, by: RankedBy) -> Ranking:
        """Return sites by what people had of them: bots do not count.

        Sites with too few requests for a rate or a time follow without rank.

        :param site_ids: who takes part: the caller leaves out who does not want to.
        """
        return Ranking(
            by,
            MIN_RANKED_REQUESTS if by in {"success-rate", "response-time"} else 0,
            tuple(_ranked(await self.totals(site_ids, period, PEOPLE), by)),
        )

    async def compare(
        self, site_ids: Sequence[int], period: Period, filters: Filters = NONE
    ) -> tuple[SiteSeries, ...]:
        """Return some sites' requests over time beside each other, in the given order.

        :raises ValueError: more than :data:`MOST_COMPARED`.
        """
        if len(site_ids) > MOST_COMPARED:
            raise ValueError(f"at most {MOST_COMPARED} sites can be compared")
        questions: list[Coroutine[Any, Any, Any]] = [
            self.totals(site_ids, period, filters),
            self._over_time(site_ids, period, filters),
        ]
        totals, over_time = await together(questions)
        return _series(site_ids, totals, over_time, period)

    async def _over_time(
        self, site_ids: Sequence[int], period: Period, filters: Filters
    ) -> dict[int, dict[int, int]]:
        """Return site -> beginning of a bucket -> requests; what was silent is left out."""
        if not site_ids:
            return {}
        rows = await self.reader.traffic(
            site_ids, period, ["requests"], filters=filters, by_site=True, by_bucket=True
        )
        by_site: dict[int, dict[int, int]] = {}
        for site, time, count in rows:
            by_site.setdefault(int(site), {})[int(time)] = int(count)
        return by_site


def _series(
    site_ids: Sequence[int],
    totals: Mapping[int, SiteTotals],
    by_site: Mapping[int, Mapping[int, int]],
    period: Period,
) -> tuple[SiteSeries, ...]:
    """Return the sites' lines of a chart; of sites that were all silent, none."""
    if not totals:
        return ()
    return tuple(
        SiteSeries(
            site,
            totals.get(site, SiteTotals.nothing()),
            tuple((time, by_site.get(site, {}).get(time, 0)) for time in period.times),
        )
        for site in site_ids
    )


def _totals(row: Row) -> SiteTotals:
    """Make totals of the figures :data:`_TOTALS`."""
    requests, informational, success, redirection, visitors, sent, measured, duration, *q = row
    times = [None if math.isnan(float(value)) else float(value) / 1000 for value in q]
    return SiteTotals(
        int(requests),
        int(visitors),
        int(sent),
        share(int(informational) + int(success) + int(redirection), int(requests)),
        mean_ms(duration, measured),
        p50_ms=times[0],
        p95_ms=times[2],
        p99_ms=times[3],
    )


_BETTER: Final = {
    "traffic": (attrgetter("requests"), -1),
    "visitors": (attrgetter("visitors"), -1),
    "success-rate": (attrgetter("success_rate"), -1),
    # The median: what half of the people wait for; one slow download does not decide.
    "response-time": (attrgetter("p50_ms"), 1),
}


def _ranked(totals: Mapping[int, SiteTotals], by: RankedBy) -> list[RankedSite]:
    """Return the sites in their order; equal ones share a rank."""
    value, sign = _BETTER[by]
    enough = MIN_RANKED_REQUESTS if by in {"success-rate", "response-time"} else 1
    able = {
        site: figures
        for site, figures in totals.items()
        if figures.requests >= enough and value(figures) is not None
    }
    found: list[RankedSite] = []
    for place, site in enumerate(sorted(able, key=lambda one: (sign * value(able[one]), one)), 1):
        equal = found and value(found[-1].totals) == value(able[site])
        found.append(RankedSite(found[-1].rank if equal else place, site, able[site]))
    rest = sorted(set(totals) - set(able), key=lambda one: (-totals[one].requests, one))
    return found + [RankedSite(None, site, totals[site]) for site in rest]
