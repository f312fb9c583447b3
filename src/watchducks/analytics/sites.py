"""Questions about one site: traffic, response times, answers, visitors."""

from __future__ import annotations

import math
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

from watchducks.analytics.facets import FacetQuestions
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.periods import DAY, Period
from watchducks.analytics.reading import ALL, Row
from watchducks.analytics.results import (
    CLASSES,
    Latency,
    LatencyPoint,
    Status,
    StatusCount,
    StatusPoint,
    Traffic,
    TrafficPoint,
    Visitors,
    VisitorsPoint,
    change,
    mean_ms,
    milliseconds,
    share,
)
from watchducks.background import together

# How many paths are called the fastest and the slowest.
RANKED_PATHS = 3

_TRAFFIC = ("requests", "connections", "received", "sent")
_LATENCY = (
    "measured",
    "duration_sum",
    "origin_count",
    "origin_sum",
    "own_sum",
    "durations",
    "origins",
    "owns",
)


_LATENCY_BEFORE = ("measured", "duration_sum", "durations")


class SiteQuestions(FacetQuestions):
    """Every method may raise StoreUnavailable or StoreRefused. ``filters``: which requests count.
    An unknown site has no figures, which is no error."""

    async def traffic(self, site_id: int, period: Period, filters: Filters = NONE) -> Traffic:
        """Return requests, bytes and passed-through connections over time."""
        rows, earlier = await together(
            self.reader.traffic([site_id], asked, names, filters=filters, by_bucket=True)
            for asked, names in ((period, _TRAFFIC), (period.before, _TRAFFIC[:1]))
        )
        by_time = {int(row[0]): [int(value) for value in row[1:]] for row in rows}
        then = {int(time): int(count) for time, count in earlier}
        points = tuple(
            TrafficPoint(time, *[*by_time.get(time, (0, 0, 0, 0)), then.get(time_before, 0)])
            for time, time_before in zip(period.times, period.before.times, strict=True)
        )
        requests = sum(point.requests for point in points)
        before = sum(then.values())
        return Traffic(
            points,
            requests,
            sum(point.connections for point in points),
            sum(point.request_bytes for point in points),
            sum(point.response_bytes for point in points),
            before,
            change(requests, before),
        )

    async def latency(self, site_id: int, period: Period, filters: Filters = NONE) -> Latency:
        """Return response times over time, and the fastest and slowest paths."""
        sites, before = [site_id], period.before
        questions: list[Coroutine[Any, Any, Any]] = [
            self.reader.traffic(
                sites, period, _LATENCY, filters=filters, by_bucket=True, with_all=True
            ),
            self.reader.traffic(sites, before, _LATENCY_BEFORE, filters=filters, by_bucket=True),
            self.ranked_paths(site_id, period, RANKED_PATHS, filters),
        ]
        rows, earlier, (fastest, slowest) = await together(questions)
        by_time = {int(row[0]): row[1:] for row in rows}
        whole = latency_point(period.start, by_time.get(ALL, ()))
        duration = sum(int(row[2]) for row in earlier)
        before_ms = mean_ms(duration, sum(int(row[1]) for row in earlier))
        then = {int(row[0]): _p50_ms(row[3:]) for row in earlier if row[1]}
        return Latency(
            tuple(
                replace(
                    latency_point(time, by_time.get(time, ())),
                    p50_before_ms=then.get(time_before),
                )
                for time, time_before in zip(period.times, before.times, strict=True)
            ),
            whole,
            fastest,
            slowest,
            before_ms,
            change(whole.mean_ms, before_ms),
        )

    async def status(self, site_id: int, period: Period, filters: Filters = NONE) -> Status:
        """Return answers by class over time, by code, and the success rate."""
        names = ("requests", *CLASSES)
        questions: list[Coroutine[Any, Any, Any]] = [
            self.reader.traffic([site_id], period, names, filters=filters, by_bucket=True),
            self.facet(site_id, period, "status", filters=filters),
            self.reader.traffic([site_id], period.before, names, filters=filters),
        ]
        rows, codes, (before,) = await together(questions)
        by_time = {int(row[0]): [int(value) for value in row[1:]] for row in rows}
        points = tuple(_status_point(time, by_time.get(time)) for time in period.times)
        requests = sum(sum(counts[:1]) for counts in by_time.values())
        good = sum(point.informational + point.success + point.redirection for point in points)
        return Status(
            points,
            tuple(StatusCount(int(code.value), code.requests) for code in codes),
            requests,
            share(good, requests),
            share(sum(int(value) for value in before[1:4]), int(before[0])),
        )

    async def visitors(self, site_id: int, period: Period, filters: Filters = NONE) -> Visitors:
        """Return how many different visitors there were, bots apart. Exact below 65,536, within
        1 % above.

        With days as buckets it is the calendar of daily active users.
        """

        async def count(asked: Period) -> tuple[dict[int, int], int]:
            sites, names = [site_id], ["visitors"]
            rows = await self.reader.traffic(sites, asked, names, filters=filters, by_bucket=True)
            found = {int(time): int(visitors) for time, visitors in rows}
            if all(edge % DAY == 0 for edge in asked.edges):
                return found, sum(found.values())  # nobody is the same on two days of UTC
            ((whole,),) = await self.reader.traffic(sites, asked, names, filters=filters)
            return found, int(whole)

        (by_time, now), (then, before) = await together(map(count, (period, period.before)))
        return Visitors(
            tuple(
                VisitorsPoint(time, by_time.get(time, 0), then.get(time_before, 0))
                for time, time_before in zip(period.times, period.before.times, strict=True)
            ),
            now,
            before,
            change(now, before),
        )


def latency_point(time: int, row: Row) -> LatencyPoint:
    """Make a point of the figures :data:`_LATENCY`; empty: there was nothing."""
    if not row or not row[0]:
        return LatencyPoint(time, 0, *[None] * 7)
    count, duration, origin_count, origin, own, *quantiles = row
    p50, p90, p95, p99, origin_p50, _, origin_p95, _, own_p50, _, own_p95, _ = (
        None if math.isnan(float(value)) else milliseconds(float(value)) for value in quantiles
    )
    return LatencyPoint(
        time,
        int(count),
        mean_ms(duration, count),
        p50,
        p90,
        p95,
        p99,
        mean_ms(origin, origin_count),
        mean_ms(own, count),
        origin_p50,
        origin_p95,
        own_p50,
        own_p95,
    )


def _p50_ms(quantiles: Sequence[float | str]) -> float | None:
    """Return the median of the figure durations; None: of nothing."""
    p50 = float(quantiles[0])
    return None if math.isnan(p50) else milliseconds(p50)


def _status_point(time: int, counts: Sequence[int] | None) -> StatusPoint:
    requests, *classes = counts or [0] * (1 + len(CLASSES))
    by_class = dict(zip(CLASSES, classes, strict=True))
    return StatusPoint(time, **by_class, other=requests - sum(classes))
