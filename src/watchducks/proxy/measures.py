"""Measures: what the rows of requests add up to, for whoever watches the service.

Rows go through on their way to the journal. Everything is counted since the process began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from watchducks.model.changes import Changes
from watchducks.model.metrics import Durations, Sample, counter, gauge
from watchducks.model.rows import ANSWERED, Row, RowSink

# Sites that have series of their own; the others share one. A series costs whoever stores it some
# kilobytes a day for years, and a page of metrics with 100,000 sites would be 10 MB. Who wants to
# know about each site asks the console.
MAX_SITES: Final = 100
OTHER_SITES: Final = "(other)"

_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


class Measures:
    """A RowSink before another. Follow the registry's feed with :meth:`apply`."""

    def __init__(self, sink: RowSink) -> None:
        self._record = sink.record
        self._statuses: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._sites: dict[int, int] = {}
        self._names: dict[int, str] = {}
        self._others = 0
        self._whole, self._origin = Durations(), Durations()
        self._passed = 0
        self._received = 0
        self._sent = 0

    def record(self, row: Row) -> None:
        """Pass a row on and count it."""
        self._record(row)
        self._received += row.request_bytes
        self._sent += row.response_bytes
        if row.kind != "request":
            self._passed += 1
            return
        self._statuses[row.status] += 1
        if row.reason != ANSWERED:
            self._reasons[row.reason] += 1
        self._whole.add(row.duration_us)
        if row.origin_us:
            self._origin.add(row.origin_us)
        if row.site_id in self._sites:
            self._sites[row.site_id] += 1
        elif len(self._sites) < MAX_SITES:
            self._sites[row.site_id] = 1
        else:
            self._others += 1

    def apply(self, changes: Changes) -> None:
        """Learn the names of sites."""
        for site in changes.sites:
            self._names[site.id] = site.name

    def samples(self, connections: int) -> Iterator[Sample]:
        """Return all. :param connections: how many of visitors are open."""
        by_class: Counter[str] = Counter(dict.fromkeys(_CLASSES, 0))
        for status, count in self._statuses.items():
            by_class[_CLASSES[status // 100] if 100 <= status < 600 else "none"] += count
        for name, count in by_class.items():
            yield counter(
                "watchducks_requests_total",
                "Requests, by the class of what was answered.",
                count,
                answer=name,
            )
        for reason, count in self._reasons.items():
            yield counter(
                "watchducks_own_answers_total",
                "Requests that the origin did not answer, by the reason.",
                count,
                reason=reason,
            )
        yield counter(
            "watchducks_passed_connections_total",
            "TLS connections that were passed through untouched.",
            self._passed,
        )
        for direction, octets in (("received", self._received), ("sent", self._sent)):
            yield counter(
                "watchducks_body_bytes_total",
                "Bytes of bodies, received from and sent to visitors.",
                octets,
                direction=direction,
            )
        yield from self._whole.samples(
            "watchducks_request_seconds", "From a request's first byte to its answer's last."
        )
        yield from self._origin.samples(
            "watchducks_origin_seconds", "From a request sent on to the origin's first byte."
        )
        for site, count in self._sites.items():
            yield _of_site(self._names.get(site, str(site)), count)
        if self._others:
            yield _of_site(OTHER_SITES, self._others)
        yield gauge("watchducks_connections", "Connections of visitors that are open.", connections)


def _of_site(name: str, count: int) -> Sample:
    return counter(
        "watchducks_site_requests_total",
        f"Requests of the first {MAX_SITES} sites that had any, and of all others together.",
        count,
        site=name,
    )
