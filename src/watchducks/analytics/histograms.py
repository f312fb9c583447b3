"""Response times as histograms: how they are kept, joined and read. Pure.

Times are counted in buckets, which add up as plain numbers do: joining those of a month costs
little, and neither the order nor what was joined before makes a difference. Each bucket is wider
than the one before by the eighth root of 2 (9 %), as in Prometheus' native histograms of schema 3.
A quantile is placed within its bucket by its rank: it is off by 9 % at most, where a bucket's times
are all at one end of it, by 4 % where there is a single one, and mostly by less than 1 %.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def read(select: str, columns: Sequence[str], histograms: Sequence[str]) -> str:
    """Return the statement with :data:`QUANTILES`, in microseconds, instead of histograms; those of
    nothing are NaN.

    :param columns: of ``select``, in the wanted order. :param histograms: which of them are.

    Names stand for the histograms in here: with their expressions in the place of each, 18.16 takes
    longer to read the question than to answer it. (It does so with further levels, too.)
    """
    if not histograms:
        return select
    found = ", ".join(
        ", ".join(_quantile(column, quantile) for quantile in QUANTILES)
        if column in histograms
        else column
        for column in columns
    )
    return f"SELECT {found} FROM ({select})"


def _quantile(name: str, quantile: float) -> str:
    buckets, counts = f"tupleElement({name}, 1)", f"tupleElement({name}, 2)"
    up_to, rank = f"arrayCumSum({counts})", f"{quantile} * arraySum({counts})"
    place = f"arrayFirstIndex(x -> x >= {rank}, {up_to})"
    bucket, count, seen = (f"arrayElement({of}, {place})" for of in (buckets, counts, up_to))
    # Times grow within a bucket as from one to the next.
    return f"exp2(({bucket} + {_BEFORE_FIRST} - ({seen} - {rank}) / {count}) / {_PER_OCTAVE})"
