"""Which table answers for which stretch of time: the coarsest that does it exactly. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from watchducks.analytics.rollups import DAY

# The table of single requests.
RAW: Final = "requests"


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows of ``table`` from ``start`` (in) to ``end`` (out), POSIX seconds."""

    table: str
    start: int
    end: int


def cover(
    start: int,
    end: int,
    tables: Mapping[str, int],
    doubted: Collection[int] = (),
    nested_in: int = 0,
) -> list[Tile]:
    """Return tiles that have every moment from ``start`` to ``end`` once, in their order.

    :param tables: roll-ups, each with its seconds, which divide those of the coarser ones.
    :param doubted: days since 1970 for which no roll-up may be taken.
    :param nested_in: of a chart, what its edges are multiples of: a coarser roll-up would reach
        over an edge. 0: there are none.
    """
    fitting = sorted(
        ((seconds, table) for table, seconds in tables.items() if nested_in % seconds == 0),
        reverse=True,
    )
    found: list[Tile] = []
    for piece in _pieces(start, end, fitting):
        for tile in _without(piece, sorted(doubted)):
            if found and found[-1].table == tile.table and found[-1].end == tile.start:
                found[-1] = Tile(tile.table, found[-1].start, tile.end)
            else:
                found.append(tile)
    return found


def _pieces(start: int, end: int, tables: Sequence[tuple[int, str]]) -> Iterator[Tile]:
    """Yield the middle in the coarsest table, and both ends in finer ones."""
    if start >= end:
        return
    if not tables:
        yield Tile(RAW, start, end)
        return
    (seconds, table), finer = tables[0], tables[1:]
    first, last = -(-start // seconds) * seconds, end // seconds * seconds
    if first >= last:
        yield from _pieces(start, end, finer)
        return
    yield from _pieces(start, first, finer)
    yield Tile(table, first, last)
    yield from _pieces(last, end, finer)


def _without(tile: Tile, doubted: Sequence[int]) -> Iterator[Tile]:
    """Yield the tile with raw rows in the place of its doubted days."""
    at = tile.start
    for day in doubted:
        first, last = max(at, day * DAY), min(tile.end, (day + 1) * DAY)
        if first < last:
            if at < first:
                yield Tile(tile.table, at, first)
            yield Tile(RAW, first, last)
            at = last
    if at < tile.end:
        yield Tile(tile.table, at, tile.end)
