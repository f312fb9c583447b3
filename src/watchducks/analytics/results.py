"""What the questions answer with: frozen data that the console can turn into JSON as it is.

``time`` is the beginning of a bucket in POSIX seconds; there is one entry for each bucket of the
period, in order, and zero stands for "no data" (whether we were watching at all is not told yet).
``..._ms`` are milliseconds. ``None`` means that there is nothing to work a figure out from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Failover:
    """A time in which DNS led visitors to the origins, so that no traffic was seen.

    :ivar began: POSIX seconds.
    :ivar ended: POSIX seconds; None: it lasts.
    """

    began: int
    ended: int | None


@dataclass(frozen=True, slots=True)
class Lost:
    """Requests that were observed, but could not be kept.

    :ivar began: the first of them, POSIX seconds.
    :ivar ended: the last.
    """

    began: int
    ended: int
    requests: int


@dataclass(frozen=True, slots=True)
class TrafficPoint:
    """:ivar connections: HTTPS connections that were passed through untouched.

    :ivar requests_before: of the same bucket in the period before.
    """

    time: int
    requests: int
    connections: int
    request_bytes: int
    response_bytes: int
    requests_before: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """:ivar requests_change: against the period before, 0.5 being half as much again."""

    points: tuple[TrafficPoint, ...]
    requests: int
    connections: int
    request_bytes: int
    response_bytes: int
    requests_before: int
    requests_change: float | None


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """Response times of one bucket, or of the whole period; None where nothing was measured.

    :ivar count: how many answers were measured: all but those the visitor did not wait for (499)
        and upgraded connections (101), whose duration is not a response time.
    :ivar origin_mean_ms: from the request's going out to the first byte of the origin's answer.
    :ivar own_mean_ms: the rest: ours, and the way to the visitor.
    :ivar p50_before_ms: of the same bucket in the period before, or of all of that period.
    """

    time: int
    count: int
    mean_ms: float | None
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    origin_mean_ms: float | None
    own_mean_ms: float | None
    origin_p50_ms: float | None = None
    origin_p95_ms: float | None = None
    own_p50_ms: float | None = None
    own_p95_ms: float | None = None
    p50_before_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PathLatency:
    """One path's response times."""

    path: str
    count: int
    mean_ms: float
    p95_ms: float


@dataclass(frozen=True, slots=True)
class Latency:
    """:ivar total: the whole period, worked out from all its requests, not from the points.

    :ivar fastest: paths by their mean, fastest first; only such with enough requests.
    :ivar slowest: slowest first; a path is in one of the two lists.
    :ivar mean_change: against the period before; -0.1 is a tenth faster.
    """

    points: tuple[LatencyPoint, ...]
    total: LatencyPoint
    fastest: tuple[PathLatency, ...]
    slowest: tuple[PathLatency, ...]
    mean_before_ms: float | None
    mean_change: float | None


# The classes of answers, as the roll-ups have them.
CLASSES: Final = ("informational", "success", "redirection", "client_error", "server_error")


@dataclass(frozen=True, slots=True)
class StatusPoint:
    """How many answers of each class; ``other`` is what is no HTTP status."""

    time: int
    informational: int
    success: int
    redirection: int
    client_error: int
    server_error: int
    other: int


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How often one status was answered."""

    status: int
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """:ivar codes: the most frequent first.

    :ivar success_rate: the share of answers below 400, from 0 to 1.
    """

    points: tuple[StatusPoint, ...]
    codes: tuple[StatusCount, ...]
    requests: int
    success_rate: float | None
    success_rate_before: float | None


@dataclass(frozen=True, slots=True)
class VisitorsPoint:
    """Different visitors in one bucket. :ivar visitors_before: in the same one of the period
    before."""

    time: int
    visitors: int
    visitors_before: int = 0


@dataclass(frozen=True, slots=True)
class Visitors:
    """:ivar visitors: different visitors of the whole period: never the sum of the points.

    Visitor ids change each UTC day, so that days cannot be joined: over several days a visitor
    counts once for each day, by design.
    """

    points: tuple[VisitorsPoint, ...]
    visitors: int
    visitors_before: int
    visitors_change: float | None


@dataclass(frozen=True, slots=True)
class PathTraffic:
    """:ivar errors: answers of 500 and above."""

    path: str
    requests: int
    errors: int
    response_bytes: int
    mean_ms: float


@dataclass(frozen=True, slots=True)
class ReferrerTraffic:
    """Requests that came from another host's page."""

    host: str
    requests: int
    visitors: int


@dataclass(frozen=True, slots=True)
class DnsPoint:
    """Questions in one bucket: all, by type ("AAAA") and by response code ("NXDOMAIN")."""

    time: int
    questions: int
    types: Mapping[str, int]
    rcodes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DnsNetwork:
    """Questions from one network of resolvers; "": of those that were not told apart."""

    network: str
    questions: int


@dataclass(frozen=True, slots=True)
class Dns:
    """Questions about a zone, counted by the name servers once a minute.

    :ivar types: the most frequent first; so are ``rcodes`` and ``networks``.
    """

    points: tuple[DnsPoint, ...]
    questions: int
    types: Mapping[str, int]
    rcodes: Mapping[str, int]
    networks: tuple[DnsNetwork, ...]


@dataclass(frozen=True, slots=True)
class FacetRow:
    """What there was of one value of a dimension (a path, a country, a bot ...).

    :ivar requests: all of them.
    :ivar people: those of people, as far as is known.
    :ivar page_views: of people.
    :ivar visitors: different people.
    :ivar errors: answers of 500 and above.
    """

    value: str
    requests: int
    people: int
    page_views: int
    visitors: int
    errors: int
    response_bytes: int
    mean_ms: float | None


@dataclass(frozen=True, slots=True)
class SiteTotals:
    """A site's figures, or those of several together, over a period."""

    requests: int
    visitors: int
    response_bytes: int
    success_rate: float | None
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None

    @classmethod
    def nothing(cls) -> SiteTotals:
        """Return the figures of no requests."""
        return cls(0, 0, 0, None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class SiteSeries:
    """:ivar points: (beginning of the bucket, requests)."""

    site_id: int
    totals: SiteTotals
    points: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class RankedSite:
    """:ivar rank: from 1; equal sites share it; None: too few requests to say."""

    rank: int | None
    site_id: int
    totals: SiteTotals


@dataclass(frozen=True, slots=True)
class Ranking:
    """:ivar min_requests: with fewer a site has no rank.

    :ivar sites: those with a rank in their order, then the others. ``response-time`` is ranked by
        the median.
    """

    by: str
    min_requests: int
    sites: tuple[RankedSite, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """A cohort as a whole.

    :ivar sites: how many there are, silent ones included.
    :ivar before: of the period before.
    :ivar busiest: over time, the one with the most requests first.
    :ivar quickest: by the median response time, the fastest first.
    """

    sites: int
    totals: SiteTotals
    before: SiteTotals
    requests_change: float | None
    busiest: tuple[SiteSeries, ...]
    quickest: tuple[RankedSite, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Something that happened. :ivar time: POSIX seconds. :ivar kind: a word."""

    time: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class SiteAnnotation:
    """Something that happened to one of several sites. :ivar site_id: 0: to all of them."""

    site_id: int
    time: int
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Live:
    """What there was within the last ``seconds``. :ivar visitors: different people."""

    seconds: int
    requests: int
    page_views: int
    visitors: int
    bot_requests: int


def milliseconds(microseconds: float) -> float:
    """Return microseconds as milliseconds."""
    return microseconds / 1000


def mean_ms(microseconds: float | str, count: float | str) -> float | None:
    """Return the mean of a sum of microseconds; None: of nothing."""
    return float(microseconds) / float(count) / 1000 if float(count) else None


def share(part: int, whole: int) -> float | None:
    """Return a part as a share of the whole; None: of nothing."""
    return part / whole if whole else None


def change(now: float | None, before: float | None) -> float | None:
    """Return by how much ``now`` differs from ``before``, as a share of it; None: not known."""
    if now is None or not before:
        return None
    return (now - before) / before
