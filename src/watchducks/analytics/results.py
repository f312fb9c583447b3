"""What the questions answer with: frozen data that the console can turn into JSON as it is.

``time`` is the beginning of a bucket in POSIX seconds; there is one entry for each bucket of the
period, in order, and zero stands for "no data" (whether we were watching at all is not told yet).
``..._ms`` are milliseconds. ``None`` means that there is nothing to work a figure out from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failover:
    """A time in which DNS led visitors to the origins, so that no traffic was seen.

    :ivar began: POSIX seconds.
    :ivar ended: POSIX seconds; None: it lasts.
    """

    began: int
    ended: int | None


@dataclass(frozen=True, slots=True)
class TrafficPoint:
    """:ivar connections: HTTPS connections that were passed through untouched."""

    time: int
    requests: int
    connections: int
    request_bytes: int
    response_bytes: int


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
    """Different visitors in one bucket."""

    time: int
    visitors: int


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


def change(now: float | None, before: float | None) -> float | None:
    """Return by how much ``now`` differs from ``before``, as a share of it; None: not known."""
    if now is None or not before:
        return None
    return (now - before) / before
