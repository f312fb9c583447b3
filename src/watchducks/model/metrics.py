"""Metrics: what a part counts and measures of itself, as plain data.

Plain, so that one process may pass what it measured to another, which shows it with its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What may be done with a metric's values, in Prometheus' words."""

    COUNTER = "counter"  # grows from the start of the process; its name ends with _total
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  # name with _bucket (label "le", cumulative), _sum and _count


class Sample(NamedTuple):
    """One value at the moment of the question.

    :ivar name: as it is shown, such as ``watchducks_requests_total``; units are in it, and are
        seconds and bytes.
    :ivar help: what it means, one sentence; the same for all samples of a name.
    :ivar labels: (label, value) pairs. Their number is bounded by whoever makes the sample.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[tuple[str, str], ...]
    value: float

    @property
    def family(self) -> str:
        """The name without what its kind adds to it."""
        if self.kind is Kind.COUNTER:
            return self.name.removesuffix("_total")
        if self.kind is Kind.HISTOGRAM:
            return self.name.rpartition("_")[0]
        return self.name


Measure = Callable[[], Iterable[Sample]]


def counter(name: str, help_: str, value: float, **labels: str) -> Sample:
    return Sample(name, Kind.COUNTER, help_, tuple(labels.items()), value)


def gauge(name: str, help_: str, value: float, **labels: str) -> Sample:
    return Sample(name, Kind.GAUGE, help_, tuple(labels.items()), value)


class Durations:
    """A histogram of durations whose buckets are powers of two microseconds.

    One more duration costs an index and two additions: the proxy counts every request.

    :ivar counts: by the number of bits of the duration in whole microseconds.
    """

    # 2**36 us are 19 hours; what takes longer is in the last bucket, too.
    _BUCKETS = 37
    # Nobody tells 1 from 64 microseconds in a chart: fewer series for the same answer.
    _FIRST_SHOWN = 6

    def __init__(self) -> None:
        self.counts = [0] * (self._BUCKETS + 1)
        self.sum_us = 0

    def add(self, microseconds: int) -> None:
        """Count one; not negative."""
        bits = microseconds.bit_length()
        self.counts[bits if bits < self._BUCKETS else self._BUCKETS] += 1
        self.sum_us += microseconds

    def samples(self, name: str, help_: str, last_seconds: float = 60.0) -> Iterator[Sample]:
        """Return the histogram ``name``; buckets above ``last_seconds`` are one."""
        below = 0
        for bits, count in enumerate(self.counts[:-1]):
            below += count
            bound = (1 << bits) / 1_000_000
            if bits >= self._FIRST_SHOWN and bound <= last_seconds:
                yield _of_histogram(name, "bucket", help_, below, (("le", repr(bound)),))
        total = sum(self.counts)
        yield _of_histogram(name, "bucket", help_, total, (("le", "+Inf"),))
        yield _of_histogram(name, "sum", help_, self.sum_us / 1_000_000)
        yield _of_histogram(name, "count", help_, total)


def _of_histogram(
    name: str, part: str, help_: str, value: float, labels: Sequence[tuple[str, str]] = ()
) -> Sample:
    return Sample(f"{name}_{part}", Kind.HISTOGRAM, help_, tuple(labels), value)
