"""Questions by the values of a dimension: paths, entry pages, referrers, countries, bots ..."""

from __future__ import annotations

import math

from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import Period
from watchducks.analytics.reading import Reader, Row
from watchducks.analytics.results import (
    FacetRow,
    PathLatency,
    PathTraffic,
    ReferrerTraffic,
    mean_ms,
)
from watchducks.analytics.rollups import FACETS, MERGED_VISITORS
from watchducks.background import together

# A path with fewer requests is not ranked: one slow answer says nothing about it.
MIN_SAMPLE = 5

# The longest list that a page shows.
MOST_ROWS = 100

_MEAN = "sum(duration_sum) / sum(measured)"
# By what a list may be ordered.
ORDERS = {
    "requests": "sum(requests) DESC",
    "people": "sum(people) DESC",
    "page_views": "sum(page_views) DESC",
    "visitors": f"{MERGED_VISITORS} DESC",
    "errors": "sum(errors) DESC, sum(requests) DESC",
    "slowness": f"{_MEAN} DESC",
    "speed": f"{_MEAN} ASC",
}
_FIGURES = (
    "requests",
    "people",
    "page_views",
    "visitors",
    "errors",
    "sent",
    "measured",
    "duration_sum",
)


class FacetQuestions:
    """Every method may raise StoreUnavailable or StoreRefused.

    ``filters``: which requests count.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

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
        """Return the values of a dimension, the first in this order first.

        ``status`` has every answer; ``bot`` and ``bot_reason`` have bots alone, and say which and
        why; of the others ``people`` and ``visitors`` leave bots out.

        :param facet: one of :data:`~watchducks.analytics.rollups.FACETS`.
        :param order: one of :data:`ORDERS`.
        :param limit: at most :data:`MOST_ROWS`.
        :raises KeyError: there is no such dimension or order.
        """
        _ = FACETS[facet]
        having = f"sum(measured) >= {MIN_SAMPLE}" if order in {"slowness", "speed"} else ""
        if order == "errors":
            having = "sum(errors) > 0"
        rows = await self.reader.facet(
            site_id,
            period,
            facet,
            _FIGURES,
            order=ORDERS[order],
            limit=min(limit, MOST_ROWS),
            filters=filters,
            having=having,
        )
        return tuple(_facet_row(row) for row in rows)

    async def ranked_paths(
        self, site_id: int, period: Period, count: int, filters: Filters = NONE
    ) -> tuple[tuple[PathLatency, ...], tuple[PathLatency, ...]]:
        """Return the fastest and the slowest paths by their mean; a path is in one of the two."""
        fastest, slowest = await together(
            self._by_mean(site_id, period, order, count, filters) for order in ("speed", "slowness")
        )
        means = {path: (measured, mean) for path, measured, mean in (*fastest, *slowest)}
        if not means:
            return (), ()
        # Joining the histograms of all paths takes much longer than finding these few.
        rows = await self.reader.facet(
            site_id,
            period,
            "path",
            ("durations",),
            order="value",
            limit=len(means),
            filters=filters,
            values=sorted(means),
        )
        p95s = {str(path): float(p95) / 1000 for path, _, _, p95, _ in rows}

        def latency(path: str) -> PathLatency:
            measured, mean = means[path]
            p95 = p95s.get(path, 0.0)
            return PathLatency(path, measured, mean, 0.0 if math.isnan(p95) else p95)

        known = {path for path, _, _ in fastest}
        return (
            tuple(latency(path) for path, _, _ in fastest),
            tuple(latency(path) for path, _, _ in slowest if path not in known),
        )

    async def _by_mean(
        self, site_id: int, period: Period, order: str, count: int, filters: Filters
    ) -> list[tuple[str, int, float]]:
        """Return the first paths in this order, how often each was measured, and its mean in ms."""
        rows = await self.reader.facet(
            site_id,
            period,
            "path",
            ("measured", "duration_sum"),
            order=ORDERS[order],
            limit=count,
            filters=filters,
            having=f"sum(measured) >= {MIN_SAMPLE}",
        )
        return [
            (str(path), int(measured), mean_ms(duration, measured) or 0.0)
            for path, measured, duration in rows
        ]

    async def paths(
        self,
        site_id: int,
        period: Period,
        limit: int = 10,
        filters: Filters = NONE,
        order: str = "requests",
    ) -> tuple[PathTraffic, ...]:
        """Return paths, at most :data:`MOST_ROWS`; ``order`` is one of :data:`ORDERS`."""
        rows = await self.facet(site_id, period, "path", order=order, limit=limit, filters=filters)
        return tuple(
            PathTraffic(row.value, row.requests, row.errors, row.response_bytes, row.mean_ms or 0.0)
            for row in rows
        )

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10, filters: Filters = NONE
    ) -> tuple[ReferrerTraffic, ...]:
        """Return the other hosts whose pages led here; at most :data:`MOST_ROWS`."""
        rows = await self.facet(site_id, period, "referrer", limit=limit, filters=filters)
        return tuple(ReferrerTraffic(row.value, row.requests, row.visitors) for row in rows)


def _facet_row(row: Row) -> FacetRow:
    """Make a row of a value and the figures :data:`_FIGURES`."""
    value, requests, people, page_views, visitors, errors, sent, measured, duration = row
    return FacetRow(
        str(value),
        int(requests),
        int(people),
        int(page_views),
        int(visitors),
        int(errors),
        int(sent),
        mean_ms(duration, measured),
    )
