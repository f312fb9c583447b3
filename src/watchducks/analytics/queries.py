"""The questions behind one site's page. SQL in the subset that ClickHouse 18.16 and 26 share.

``requests`` always counts rows of kind ``request``; passed-through connections are told apart.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from watchducks.analytics.periods import Period
from watchducks.analytics.results import (
    Dns,
    DnsNetwork,
    DnsPoint,
    Failover,
    Latency,
    LatencyPoint,
    PathLatency,
    PathTraffic,
    ReferrerTraffic,
    Status,
    StatusCount,
    StatusPoint,
    Traffic,
    TrafficPoint,
    Visitors,
    VisitorsPoint,
    change,
)
from watchducks.stores.interfaces import LogStore, Value

# How many paths are called the fastest and the slowest.
RANKED_PATHS = 3

# A path with fewer requests is not ranked: one slow answer says nothing about it.
MIN_SAMPLE = 5

# Codes listed one by one. A healthy site has about ten; an origin could answer with 900.
MOST_CODES = 50

# The longest list that a page shows.
MOST_ROWS = 100

# A failover that began earlier than this before a chart's period is not shown in it.
LONGEST_FAILOVER_SECONDS = 7 * 86_400

# Changes of verdicts read for one chart: years of them, or a very bad hour.
MOST_VERDICTS = 10_000

# How many sites one question may name: the SQL text grows with them.
MOST_SITES = 1000

_BUCKET = "intDiv(toUInt32(time) - %(start)s, %(bucket)s)"
_WHERE = "time >= toDateTime(%(start)s) AND time < toDateTime(%(end)s)"
_SITE = f"site = %(site)s AND {_WHERE}"
_REQUESTS = f"{_SITE} AND kind = 'request'"
# Only what is a response time: the visitor waited for it (not 499), and it ended with the answer
# (not 101, whose connection may go on for hours).
_MEASURED = f"{_REQUESTS} AND status NOT IN (101, 499)"

_LATENCY = (
    "count() AS n, avg(duration_us) AS mean,"
    " quantilesTDigest(0.5, 0.9, 0.95, 0.99)(duration_us) AS q,"
    " avgIf(origin_us, origin_us > 0) AS origin_mean,"
    # An answer may begin before its request is read to the end; then nothing of it is ours.
    " avg(duration_us - if(origin_us < duration_us, origin_us, duration_us)) AS own_mean"
)
_LATENCY_FIELDS = "n, mean, q[1], q[2], q[3], q[4], origin_mean, own_mean"

_CLASSES = ("other", "informational", "success", "redirection", "client_error", "server_error")


class Analytics:
    """Questions about sites' traffic.

    Every method may raise StoreUnavailable or StoreRefused
    (:mod:`watchducks.stores.interfaces`). An unknown site has no rows, which is no error.
    """

    def __init__(self, store: LogStore) -> None:
        self._store = store

    async def traffic(self, site_id: int, period: Period) -> Traffic:
        """Return requests, bytes and passed-through connections over time."""
        rows = await self._query(
            f"SELECT {_BUCKET} AS b, countIf(kind = 'request'), countIf(kind = 'connection'),"
            " sum(request_bytes), sum(response_bytes)"
            f" FROM requests WHERE {_SITE} GROUP BY b",
            site_id,
            period,
        )
        by_bucket = {int(row[0]): [int(value) for value in row[1:]] for row in rows}
        points = tuple(
            TrafficPoint(time, *by_bucket.get(bucket, (0, 0, 0, 0)))
            for bucket, time in enumerate(period.times)
        )
        requests = sum(point.requests for point in points)
        before = (await self.requests_by_site([site_id], period.before)).get(site_id, 0)
        return Traffic(
            points,
            requests,
            sum(point.connections for point in points),
            sum(point.request_bytes for point in points),
            sum(point.response_bytes for point in points),
            before,
            change(requests, before),
        )

    async def requests_by_site(self, site_ids: Sequence[int], period: Period) -> dict[int, int]:
        """Return site -> requests, for at most :data:`MOST_SITES` sites; silent ones are left out.

        :raises ValueError: too many sites.
        """
        if len(site_ids) > MOST_SITES:
            raise ValueError(f"at most {MOST_SITES} sites at once")
        if not site_ids:
            return {}
        rows = await self._store.query(
            "SELECT site, count() FROM requests WHERE site IN %(sites)s"
            f" AND {_WHERE} AND kind = 'request' GROUP BY site",
            {"sites": tuple(site_ids), "start": period.start, "end": period.until},
        )
        return {int(site): int(count) for site, count in rows}

    async def latency(self, site_id: int, period: Period) -> Latency:
        """Return response times over time, and the fastest and slowest paths."""
        rows = await self._query(
            f"SELECT b, {_LATENCY_FIELDS} FROM (SELECT {_BUCKET} AS b, {_LATENCY}"
            f" FROM requests WHERE {_MEASURED} GROUP BY b)",
            site_id,
            period,
        )
        by_bucket = {int(row[0]): row[1:] for row in rows}
        total = await self._query(
            f"SELECT {_LATENCY_FIELDS} FROM (SELECT {_LATENCY} FROM requests WHERE {_MEASURED})",
            site_id,
            period,
        )
        before = await self._query(
            f"SELECT avg(duration_us) FROM requests WHERE {_MEASURED}", site_id, period.before
        )
        fastest = await self._ranked_paths(site_id, period, "ASC")
        slowest = await self._ranked_paths(site_id, period, "DESC")
        known = {path.path for path in fastest}
        whole = _latency_point(period.start, total[0] if total else ())
        mean_before_ms = _ms(before[0][0] if before else math.nan)
        return Latency(
            tuple(
                _latency_point(time, by_bucket.get(bucket, ()))
                for bucket, time in enumerate(period.times)
            ),
            whole,
            fastest,
            tuple(path for path in slowest if path.path not in known),
            mean_before_ms,
            change(whole.mean_ms, mean_before_ms),
        )

    async def _ranked_paths(
        self, site_id: int, period: Period, direction: str
    ) -> tuple[PathLatency, ...]:
        rows = await self._query(
            "SELECT path, count() AS n, avg(duration_us) AS mean,"
            f" quantileTDigest(0.95)(duration_us) FROM requests WHERE {_MEASURED}"
            f" GROUP BY path HAVING n >= {MIN_SAMPLE}"
            f" ORDER BY mean {direction}, path LIMIT {RANKED_PATHS}",
            site_id,
            period,
        )
        return tuple(
            PathLatency(str(path), int(count), float(mean) / 1000, float(p95) / 1000)
            for path, count, mean, p95 in rows
        )

    async def status(self, site_id: int, period: Period) -> Status:
        """Return answers by class over time, by code, and the success rate."""
        rows = await self._query(
            f"SELECT {_BUCKET} AS b, intDiv(status, 100) AS class, count()"
            f" FROM requests WHERE {_REQUESTS} GROUP BY b, class",
            site_id,
            period,
        )
        by_bucket: dict[int, dict[str, int]] = {}
        for bucket, class_, count in rows:
            counts = by_bucket.setdefault(int(bucket), {})
            name = _CLASSES[int(class_)] if int(class_) < len(_CLASSES) else "other"
            counts[name] = counts.get(name, 0) + int(count)
        codes = await self._query(
            f"SELECT status, count() AS n FROM requests WHERE {_REQUESTS}"
            f" GROUP BY status ORDER BY n DESC, status LIMIT {MOST_CODES}",
            site_id,
            period,
        )
        requests, rate = await self._success(site_id, period)
        _, rate_before = await self._success(site_id, period.before)
        return Status(
            tuple(
                StatusPoint(
                    time,
                    **{name: by_bucket.get(bucket, {}).get(name, 0) for name in _CLASSES},
                )
                for bucket, time in enumerate(period.times)
            ),
            tuple(StatusCount(int(status), int(count)) for status, count in codes),
            requests,
            rate,
            rate_before,
        )

    async def _success(self, site_id: int, period: Period) -> tuple[int, float | None]:
        """Return how many requests there were, and the share that was answered below 400."""
        rows = await self._query(
            "SELECT count(), countIf(status >= 100 AND status < 400)"
            f" FROM requests WHERE {_REQUESTS}",
            site_id,
            period,
        )
        requests, good = (int(value) for value in rows[0]) if rows else (0, 0)
        return requests, good / requests if requests else None

    async def visitors(self, site_id: int, period: Period) -> Visitors:
        """Return how many different visitors there were. Exact below 65,536, within 1 % above."""
        where = f"{_REQUESTS} AND visitor != 0"
        rows = await self._query(
            f"SELECT {_BUCKET} AS b, uniq(visitor) FROM requests WHERE {where} GROUP BY b",
            site_id,
            period,
        )
        by_bucket = {int(bucket): int(count) for bucket, count in rows}
        total = f"SELECT uniq(visitor) FROM requests WHERE {where}"
        now = _first(await self._query(total, site_id, period))
        before = _first(await self._query(total, site_id, period.before))
        return Visitors(
            tuple(
                VisitorsPoint(time, by_bucket.get(bucket, 0))
                for bucket, time in enumerate(period.times)
            ),
            now,
            before,
            change(now, before),
        )

    async def paths(self, site_id: int, period: Period, limit: int = 10) -> tuple[PathTraffic, ...]:
        """Return the paths with the most requests; at most :data:`MOST_ROWS`."""
        rows = await self._query(
            "SELECT path, count() AS n, countIf(status >= 500), sum(response_bytes),"
            f" avg(duration_us) FROM requests WHERE {_REQUESTS}"
            f" GROUP BY path ORDER BY n DESC, path LIMIT {min(limit, MOST_ROWS)}",
            site_id,
            period,
        )
        return tuple(
            PathTraffic(str(path), int(count), int(errors), int(size), float(mean) / 1000)
            for path, count, errors, size, mean in rows
        )

    async def referrers(
        self, site_id: int, period: Period, limit: int = 10
    ) -> tuple[ReferrerTraffic, ...]:
        """Return the other hosts whose pages led here; at most :data:`MOST_ROWS`."""
        rows = await self._query(
            "SELECT referrer_host, count() AS n, uniq(visitor) FROM requests"
            f" WHERE {_REQUESTS} AND referrer_host != ''"
            # With and without "www." it is the same site.
            " AND replaceRegexpOne(referrer_host, '^www[.]', '')"
            " != replaceRegexpOne(toString(host), '^www[.]', '')"
            " GROUP BY referrer_host ORDER BY n DESC, referrer_host"
            f" LIMIT {min(limit, MOST_ROWS)}",
            site_id,
            period,
        )
        return tuple(
            ReferrerTraffic(str(host), int(count), int(visitors)) for host, count, visitors in rows
        )

    async def failovers(self, period: Period) -> tuple[Failover, ...]:
        """Return when, within ``period`` or reaching into it, some name server of ours led visitors
        to the origins because it held every proxy for down; oldest first."""
        rows = await self._store.query(
            "SELECT observer, toUInt32(time) AS at, healthy_proxies FROM verdicts"
            " WHERE time >= toDateTime(%(since)s) AND time < toDateTime(%(end)s)"
            f" ORDER BY observer, at, healthy_proxies LIMIT {MOST_VERDICTS}",
            {"since": period.start - LONGEST_FAILOVER_SECONDS, "end": period.until},
        )
        changes = [(str(observer), int(at), int(healthy)) for observer, at, healthy in rows]
        return find_failovers(changes, period.start)

    async def dns(self, zone: str, period: Period, networks: int = 10) -> Dns:
        """Return the DNS questions about a zone over time, and where the most came from.

        :param zone: its registrable name, as the site has it.
        """
        places: dict[str, Value] = {
            "zone": zone,
            "start": period.start,
            "end": period.until,
            "bucket": period.bucket,
        }
        where = f"zone = %(zone)s AND {_WHERE}"
        rows = await self._store.query(
            f"SELECT {_BUCKET} AS b, type, rcode, sum(questions) FROM dns_questions"
            f" WHERE {where} GROUP BY b, type, rcode",
            places,
        )
        types = [Counter[str]() for _ in period.times]
        rcodes = [Counter[str]() for _ in period.times]
        for bucket, type_, rcode, count in rows:
            types[int(bucket)][str(type_)] += int(count)
            rcodes[int(bucket)][str(rcode)] += int(count)
        found = await self._store.query(
            f"SELECT network, sum(questions) AS n FROM dns_questions WHERE {where}"
            f" GROUP BY network ORDER BY n DESC, network LIMIT {min(networks, MOST_ROWS)}",
            places,
        )
        of_types, of_rcodes = sum(types, Counter[str]()), sum(rcodes, Counter[str]())
        return Dns(
            tuple(
                DnsPoint(
                    time, sum(types[bucket].values()), dict(types[bucket]), dict(rcodes[bucket])
                )
                for bucket, time in enumerate(period.times)
            ),
            sum(of_types.values()),
            dict(of_types.most_common()),
            dict(of_rcodes.most_common()),
            tuple(DnsNetwork(str(network), int(count)) for network, count in found),
        )

    async def _query(self, sql: str, site_id: int, period: Period) -> list[tuple[Value, ...]]:
        return await self._store.query(
            sql,
            {
                "site": site_id,
                "start": period.start,
                "end": period.until,
                "bucket": period.bucket,
            },
        )


def _first(rows: Sequence[tuple[Value, ...]]) -> int:
    return int(rows[0][0]) if rows else 0


def _ms(microseconds: Value) -> float | None:
    """Return milliseconds, or None for what the store computed from nothing."""
    value = float(microseconds)
    return None if math.isnan(value) else value / 1000


def _latency_point(time: int, values: Sequence[Value]) -> LatencyPoint:
    """Make a point of the columns of :data:`_LATENCY_FIELDS`; empty: nothing was measured."""
    count, *times = values or (0, *[math.nan] * 7)
    if not count:
        times = [math.nan] * 7
    return LatencyPoint(time, int(count), *(_ms(value) for value in times))


def find_failovers(changes: Sequence[tuple[str, int, int]], start: int = 0) -> tuple[Failover, ...]:
    """Return the times in which an observer had no healthy proxy, joined where they overlap.

    :param changes: observer, time, and how many proxies were healthy from then on; by observer and
        time.
    :param start: what ended before is left out.
    """
    spans: list[tuple[int, float]] = []
    for index, (observer, time, healthy) in enumerate(changes):
        if healthy:
            continue
        following = changes[index + 1] if index + 1 < len(changes) else None
        lasts = following is None or following[0] != observer
        spans.append((time, math.inf if following is None or lasts else following[1]))
    joined: list[tuple[int, float]] = []
    for began, ended in sorted(spans):
        if joined and began <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], ended)
        else:
            joined.append((began, ended))
    return tuple(
        Failover(began, None if ended == math.inf else int(ended))
        for began, ended in joined
        if ended > start
    )
