"""Response times as histograms: how they are kept, joined and read. Pure.

Times are counted in buckets, which add up as plain numbers do: joining those of a month costs
little, and neither the order nor what was joined before makes a difference. Each bucket is wider
than the one before by the eighth root of 2 (9 %), as in Prometheus' native histograms of schema 3.
A quantile is placed within its bucket by its rank: it is off by 9 % at most, where a bucket's times
are all at one end of it, by 4 % where there is a single one, and mostly by less than 1 %.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
# The numbers of the buckets that are not empty, in their order, and what is in them.
KIND: Final = "Tuple(Array(UInt8), Array(UInt64))"

_PER_OCTAVE: Final = 8
# The first bucket ends at 2^(49/8) = 70 us, below what any answer takes; the last one has all from
# nine minutes on.
_BEFORE_FIRST: Final = 48
_LAST: Final = 184


def made_of(what: str, condition: str) -> str:
    """Return SQL for the histogram of rows.

    :param what: microseconds. :param condition: which rows count.
    """
    bucket = f"least(greatest(ceil(log2({what}) * {_PER_OCTAVE}) - {_BEFORE_FIRST}, 1), {_LAST})"
    return f"sumMapIf([toUInt8({bucket})], [toUInt64(1)], {condition})"


def merged(name: str) -> str:
    """Return SQL for one of the column's."""
    return f"sumMap({name}.1, {name}.2)"


def columns(name: str) -> str:
    """Return SQL for what :meth:`Histogram.read` takes: two columns of text, as no store's answer
    holds an array."""
    return ", ".join(f"toString(tupleElement({merged(name)}, {part}))" for part in (1, 2))


class Histogram:
    """Numbers of buckets, and what is in them. Reading one and its quantiles takes 10 us.

    They are found here, because 18.16 takes longer to read an expression for them than to answer
    the rest of a question.
    """

    __slots__ = ("_counts",)

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._counts = dict(counts)

    @classmethod
    def read(cls, buckets: str, counts: str) -> Histogram:
        """Return what two of :func:`columns` say."""
        return cls(zip(json.loads(buckets), json.loads(counts), strict=True))

    def __add__(self, other: Histogram) -> Histogram:
        """Return both together."""
        counts = dict(self._counts)
        for bucket, count in other._counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return Histogram(counts.items())

    def quantiles(self) -> list[float]:
        """Return :data:`QUANTILES` in microseconds; of nothing, NaN."""
        if not self._counts:
            return [math.nan] * len(QUANTILES)
        buckets = sorted(self._counts)
        up_to = list(accumulate(self._counts[bucket] for bucket in buckets))
        found = []
        for quantile in QUANTILES:
            rank = quantile * up_to[-1]
            place = bisect_left(up_to, rank)
            before = up_to[place - 1] if place else 0
            # Times grow within a bucket as from one to the next.
            within = (rank - before) / (up_to[place] - before)
            found.append(2 ** ((buckets[place] + _BEFORE_FIRST - 1 + within) / _PER_OCTAVE))
        return found
