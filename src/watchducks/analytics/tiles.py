"""Which table answers for which stretch of time: the coarsest that does it exactly. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.analytics.rollups import DAY, HOUR

# The table of single requests.
RAW: Final = "requests"


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of ``table`` from ``start`` (in) to ``end`` (out), POSIX seconds."""

    table: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the roll-ups, at one moment.

    :ivar rolled_until: there are none of what came from then on, POSIX seconds.
    :ivar partial_days: days since 1970 whose hours know more than the day's own roll-ups.
    :ivar doubted: beginnings of hours whose rows know more than their roll-ups.
    :ivar corrected: beginnings of hours that are being corrected, those included of which not all
        rows are kept any more, so that the roll-ups still know most.
    :ivar dead: numbers of makings whose rows do not count.
    """

    rolled_until: int = 0
    partial_days: frozenset[int] = frozenset()
    doubted: frozenset[int] = frozenset()
    corrected: frozenset[int] = frozenset()
    dead: frozenset[int] = frozenset()


def cover(
    start: int, end: int, tables: Mapping[str, int], known: Known, nested_in: int = 0
) -> list[Tile]:
    """Return tiles that have every moment from ``start`` to ``end`` once, in their order.

    :param tables: roll-ups, each with its seconds, which divide those of the coarser ones.
    :param nested_in: of a chart, what its edges are multiples of: a coarser roll-up would reach
        over an edge. 0: there are none.
    """
    fitting = sorted(
        ((seconds, table) for table, seconds in tables.items() if nested_in % seconds == 0),
        reverse=True,
    )
    rolled_until = max(start, min(end, known.rolled_until))
    doubted = sorted(known.doubted)
    found: list[Tile] = []
    for piece in (
        *_pieces(start, rolled_until, fitting, known),
        *_pieces(rolled_until, end, (), known),
    ):
        for tile in _without(piece, doubted):
            if found and found[-1].table == tile.table and found[-1].end == tile.start:
                found[-1] = Tile(tile.table, found[-1].start, tile.end)
            else:
                found.append(tile)
    return found


def _pieces(
    start: int, end: int, tables: Sequence[tuple[int, str]], known: Known
) -> Iterator[Tile]:
    """Yield the middle in the coarsest table, and both ends in finer ones."""
    if start >= end:
        return
    if not tables:
        yield Tile(RAW, start, end)
        return
    (seconds, table), finer = tables[0], tables[1:]
    first, last = -(-start // seconds) * seconds, end // seconds * seconds
    if first >= last:
        yield from _pieces(start, end, finer, known)
        return
    yield from _pieces(start, first, finer, known)
    at = first
    if seconds == DAY:
        for day in sorted(known.partial_days):
            if at <= day * DAY < last:
                if at < day * DAY:
                    yield Tile(table, at, day * DAY)
                at = (day + 1) * DAY
                yield from _pieces(day * DAY, at, finer, known)
    if at < last:
        yield Tile(table, at, last)
    yield from _pieces(last, end, finer, known)


def _without(tile: Tile, doubted: Sequence[int]) -> Iterator[Tile]:
    """Yield the tile with raw rows in the place of its doubted hours."""
    at = tile.start
    for hour in doubted:
        first, last = max(at, hour), min(tile.end, hour + HOUR)
        if first < last:
            if at < first:
                yield Tile(tile.table, at, first)
            yield Tile(RAW, first, last)
            at = last
    if at < tile.end:
        yield Tile(tile.table, at, tile.end)
