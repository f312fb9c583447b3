"""The JSON API of many sites beside each other: overview and rankings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from watchducks.analytics.results import RankedSite, SiteSeries, SiteTotals
from watchducks.console.access import Access
from watchducks.console.answers import Answers
from watchducks.console.api_figures import FILTERS, PERIOD, asked_filters, asked_period
from watchducks.console.endpoints import Query, endpoint
from watchducks.console.figures import Figures
from watchducks.console.http import ConsoleRequest, argument
from watchducks.console.interfaces import SiteFigures, Sites
from watchducks.console.ranks import METRICS, ranked_by, unranked
from watchducks.console.shapes import (
    COUNT,
    FLAG,
    MOMENT,
    NUMBER,
    TEXT,
    WHOLE,
    joined,
    listing,
    nullable,
    of,
    one_of,
    record,
)
from watchducks.console.together import sites_together
from watchducks.model.sites import Site

COHORT: Final = Query("cohort", "Only the sites of this cohort.")

_HEAD: Final = record(
    {
        "cohort": nullable(TEXT),
        "from": MOMENT,
        "to": MOMENT,
        "bucket_seconds": COUNT,
        "stale": FLAG,
    }
)
_TOTALS: Final = of(SiteTotals)
_PLACE: Final = record({"rank": nullable(WHOLE), "site": TEXT, "cohort": TEXT, "totals": _TOTALS})
_SERIES: Final = record(
    {
        "site": TEXT,
        "totals": _TOTALS,
        "points": listing(record({"time": WHOLE, "requests": COUNT})),
    }
)


class CohortApi:
    """The figures of cohorts, one method each."""

    def __init__(
        self,
        access: Access,
        sites: Sites,
        figures: Figures,
        analytics: SiteFigures,
        answers: Answers,
    ) -> None:
        self._access = access
        self._sites = sites
        self._figures = figures
        self._analytics = analytics
        self._answers = answers

    async def _cohort(self, request: ConsoleRequest) -> tuple[str | None, dict[int, Site]]:
        cohort = argument(request, b"cohort")
        viewer = await self._access.viewer(request)
        found = await sites_together(self._sites, cohort, viewer)
        return cohort, {site.id: site for site in found}

    @endpoint(
        "GET",
        "/api/v1/overview",
        joined(
            _HEAD,
            record(
                {
                    "sites": COUNT,
                    "totals": _TOTALS,
                    "before": _TOTALS,
                    "requests_change": nullable(NUMBER),
                    "busiest": listing(_SERIES),
                    "quickest": listing(_PLACE),
                }
            ),
        ),
        query=(COHORT, *PERIOD, *FILTERS),
        problems=(422,),
    )
    async def overview(self, request: ConsoleRequest) -> bytes:
        """Show how the sites of a cohort, or all, are doing together."""
        chosen, filters = asked_period(request, self._figures), asked_filters(request)
        cohort, sites = await self._cohort(request)
        found = await self._analytics.overview(
            list(sites), chosen, filters, unranked(sites.values())
        )
        document = {
            "cohort": cohort,
            **self._figures.head(chosen),
            "sites": found.sites,
            "totals": asdict(found.totals),
            "before": asdict(found.before),
            "requests_change": found.requests_change,
            "busiest": [_series(each, sites) for each in found.busiest],
            "quickest": [_place(each, sites) for each in found.quickest],
        }
        return self._answers.json(request, document)

    @endpoint(
        "GET",
        "/api/v1/rankings/{metric}",
        joined(
            _HEAD,
            record({"by": one_of(*METRICS), "min_requests": COUNT, "sites": listing(_PLACE)}),
        ),
        query=(COHORT, *PERIOD),
        problems=(422,),
    )
    async def ranking(self, request: ConsoleRequest, metric: str) -> bytes:
        """Rank the sites of a cohort, or all, by what people had of them."""
        by = ranked_by(metric)
        chosen = asked_period(request, self._figures)
        cohort, sites = await self._cohort(request)
        ranked = [site.id for site in sites.values() if site.choices.ranked]
        found = await self._analytics.ranking(ranked, chosen, by)
        document = {
            "cohort": cohort,
            **self._figures.head(chosen),
            "by": found.by,
            "min_requests": found.min_requests,
            "sites": [_place(each, sites) for each in found.sites],
        }
        return self._answers.json(request, document)


def _series(series: SiteSeries, sites: Mapping[int, Site]) -> dict[str, Any]:
    return {
        "site": sites[series.site_id].name,
        "totals": asdict(series.totals),
        "points": [{"time": time, "requests": requests} for time, requests in series.points],
    }


def _place(place: RankedSite, sites: Mapping[int, Site]) -> dict[str, Any]:
    site = sites[place.site_id]
    totals = asdict(place.totals)
    return {"rank": place.rank, "site": site.name, "cohort": site.cohort, "totals": totals}
