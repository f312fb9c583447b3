"""Ranks: what sites are ranked and compared by, in words and numbers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.analytics.cohorts import RankedBy
from watchducks.analytics.results import Ranking, SiteSeries, SiteTotals
from watchducks.console.answers import not_found
from watchducks.console.languages import Language, mark
from watchducks.console.views import NOTHING
from watchducks.model.sites import Site


@dataclass(frozen=True, slots=True)
class Metric:
    """What sites are ranked by, in words."""

    title: str
    explained: str


METRICS: Final[Mapping[RankedBy, Metric]] = {
    "traffic": Metric(
        mark("Traffic"), mark("By the number of requests of people; crawlers are left out.")
    ),
    "success-rate": Metric(
        mark("Success rate"),
        mark("By the share of requests that were answered without an error."),
    ),
    "response-time": Metric(
        mark("Response time"),
        mark("By the median: half of the answers came within this time. The fastest first."),
    ),
    "visitors": Metric(
        mark("Visitors"),
        mark("By the number of different visitors; of several days, each day's are added."),
    ),
}


def unranked(sites: Iterable[Site]) -> list[int]:
    """Return the ids of the sites whose owners want them in no ranking."""
    return [site.id for site in sites if not site.choices.ranked]


def ranked_by(name: str | None) -> RankedBy:
    """Return what is ranked by; traffic if nothing is said.

    :raises Refusal: 404, there is no such ranking.
    """
    for known in METRICS:
        if name in (known, None):
            return known
    raise not_found()


@dataclass(frozen=True, slots=True)
class Row:
    """One site of the ranking. :ivar cells: text, and whether it is ranked by that."""

    place: int
    name: str
    cohort: str
    share: float
    cells: Sequence[tuple[str, bool]]


def milliseconds(language: Language, value: float | None) -> str:
    return NOTHING if value is None else language.milliseconds(value)


def percent(language: Language, value: float | None) -> str:
    return NOTHING if value is None else language.percent(value)


def _cells(language: Language, totals: SiteTotals) -> dict[str, str]:
    return {
        "traffic": language.compact(totals.requests),
        "success-rate": percent(language, totals.success_rate),
        "response-time": milliseconds(language, totals.p50_ms),
        "visitors": language.compact(totals.visitors),
    }


def ranking_rows(language: Language, ranking: Ranking, sites: Mapping[int, Site]) -> list[Row]:
    """Return the sites that have a place."""
    values = [_measure(each.totals, ranking.by) for each in ranking.sites if each.rank]
    longest = max(values, default=0.0) or 1.0
    return [
        Row(
            each.rank,
            sites[each.site_id].name,
            sites[each.site_id].cohort,
            _measure(each.totals, ranking.by) / longest,
            [(text, name == ranking.by) for name, text in _cells(language, each.totals).items()],
        )
        for each in ranking.sites
        if each.rank
    ]


def _measure(totals: SiteTotals, by: str) -> float:
    """Return what a bar is as long as."""
    found = {
        "traffic": totals.requests,
        "visitors": totals.visitors,
        "success-rate": totals.success_rate,
        "response-time": totals.p50_ms,
    }[by]
    return float(found or 0.0)


def values_of(series: SiteSeries) -> list[int]:
    """Return a site's requests over time."""
    return [requests for _, requests in series.points]


def left_out_of(language: Language, ranking: Ranking) -> str:
    """Return a sentence about those without a place; empty if there are none."""
    count = sum(1 for each in ranking.sites if not each.rank)
    if not count:
        return ""
    text = mark("Sites with too few requests to be ranked by this (fewer than {least}): {count}.")
    return language.gettext(text).format(count=count, least=max(1, ranking.min_requests))


def compared(
    language: Language, columns: Sequence[SiteTotals]
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Return the rows: title, and of each site the text and whether it is the best."""
    kinds: list[tuple[str, Callable[[SiteTotals], tuple[str, float | None]], bool]] = [
        (mark("Requests"), lambda t: (language.compact(t.requests), t.requests), False),
        (mark("Visitors"), lambda t: (language.compact(t.visitors), t.visitors), False),
        (
            mark("Success rate"),
            lambda t: (percent(language, t.success_rate), t.success_rate),
            False,
        ),
        (
            mark("Response time, median"),
            lambda t: (milliseconds(language, t.p50_ms), t.p50_ms),
            True,
        ),
        (
            mark("95 of 100 faster than"),
            lambda t: (milliseconds(language, t.p95_ms), t.p95_ms),
            True,
        ),
        (mark("Sent"), lambda t: (language.size(t.response_bytes), t.response_bytes), False),
    ]
    rows = []
    for title, tell, least_first in kinds:
        cells = [tell(totals) for totals in columns]
        values = [value for _, value in cells if value is not None]
        best = (min(values) if least_first else max(values)) if len(values) > 1 else None
        rows.append(
            (
                language.gettext(title),
                [(text, value is not None and value == best) for text, value in cells],
            )
        )
    return rows
