"""Reading figures: one SELECT over whatever tables have them. What all questions are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from watchducks.analytics import histograms
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.histograms import Histogram
from watchducks.analytics.periods import Period
from watchducks.analytics.rolling import alive, read_ledger, within
from watchducks.analytics.rollups import (
    FACET,
    FACET_TABLES,
    FACETS,
    TRAFFIC,
    TRAFFIC_TABLES,
    Measure,
    columns_of_rollups,
    columns_of_rows,
    rows_of,
)
from watchducks.analytics.tiles import RAW, Known, Tile, cover
from watchducks.stores.binding import Parameters
from watchducks.stores.interfaces import LogStore, Value

# How long what is known of the roll-ups is believed. Who makes some waits longer than that before
# rows come that do not count yet, and before rows go that did; and a doubt is noted before the
# insert that it is about.
KNOWN_SECONDS: Final = 2.0

# How many sites one question may name: the SQL text grows with them, and a server takes 256 KiB.
MOST_SITES: Final = 10_000

# Among sites and beginnings of buckets it stands for all of them; it is neither.
ALL: Final = 0

# How many rows with quantiles are made before others have their turn: half a millisecond.
ROWS_A_TURN: Final = 50

Row = tuple[Value, ...]
Figure = Value | Histogram


class Reader:
    """Asks the store. Every method may raise StoreUnavailable or StoreRefused."""

    def __init__(self, store: LogStore, *, clock: IReactorTime) -> None:
        self.store = store
        self._clock = clock
        self._known = Known()
        self._believed_until = -math.inf

    def now(self) -> float:
        """Return POSIX seconds."""
        return self._clock.seconds()

    async def known(self) -> Known:
        """Return what is known of the roll-ups."""
        if self._clock.seconds() >= self._believed_until:
            # Not from when the answer came on: it says what was true before.
            believed_until = self._clock.seconds() + KNOWN_SECONDS
            self._known = (await read_ledger(self.store)).known()
            self._believed_until = believed_until
        return self._known

    async def traffic(
        self,
        sites: Sequence[int],
        period: Period,
        names: Sequence[str],
        *,
        filters: Filters = NONE,
        by_site: bool = False,
        by_bucket: bool = False,
        with_all: bool = False,
    ) -> list[Row]:
        """Return figures of :data:`~watchducks.analytics.rollups.TRAFFIC`, in the order of
        ``names``; four columns for each histogram,
        its :data:`~watchducks.analytics.histograms.QUANTILES` in microseconds.

        :param by_site: a row a site, whose id comes first; sites without requests are left out.
        :param by_bucket: a row a bucket, whose beginning comes first (after the site).
        :param with_all: another row, of site or bucket :data:`ALL`, has all of them together, if
            there is any: what takes longest, reading and joining, is done once. Not of visitors by
            bucket, who may be in several.
        :raises ValueError: too many sites, or none.
        """
        nested_in = math.gcd(*period.edges) if by_bucket else 0
        tiles, but = await self._tiles(period, TRAFFIC_TABLES, filters, nested_in)
        keys = {"site": "site"} if by_site else {}
        if by_bucket:
            keys["bucket"] = bucket_of(period)
        places: dict[str, str] = {}
        condition = f"site IN {_sites(sites)}"
        pieces = []
        for tile in tiles:
            head = "".join(f"{sql} AS {key}, " for key, sql in keys.items() if key != sql)
            head = "site, " * by_site + head
            where = f"WHERE {condition} AND {within(tile.start, tile.end)}"
            if tile.table == RAW:
                pieces.append(
                    f"SELECT {head}{columns_of_rows(TRAFFIC, names)} FROM {RAW}"
                    f" {where}{filters.of_rows(places)}{_group(keys)}"
                )
            else:
                pieces.append(
                    f"SELECT {head}{columns_of_rollups(tile.table, names)} FROM {tile.table}"
                    f" {where}{but}{filters.of_rollups()}"
                )
        merged = {name: TRAFFIC[name] for name in names}
        return await self._merged(pieces, keys, merged, places, with_all=with_all)

    async def facet(
        self,
        site_id: int,
        period: Period,
        facet: str,
        names: Sequence[str],
        *,
        order: str,
        limit: int,
        filters: Filters = NONE,
        having: str = "",
        values: Sequence[str] = (),
    ) -> list[Row]:
        """Return figures of :data:`~watchducks.analytics.rollups.FACET` by value of a dimension.

        :param facet: one of :data:`~watchducks.analytics.rollups.FACETS`.
        :param order: SQL of merged figures, for ORDER BY. :param having: the same, for HAVING.
        :param values: of these alone; none: of all.
        """
        tiles, but = await self._tiles(
            period, FACET_TABLES, filters, 0, rolled=filters.audience == "all"
        )
        places: dict[str, str] = {}
        number = FACETS[facet][0]
        only = " AND value IN %(values)s" * bool(values)
        pieces = []
        for tile in tiles:
            where = f"site = {site_id:d} AND {within(tile.start, tile.end)}"
            if tile.table == RAW:
                pieces.append(
                    f"SELECT value, {columns_of_rows(FACET, names)} FROM {RAW} {rows_of([facet])}"
                    f" AND {where}{only}{filters.of_rows(places)} GROUP BY value"
                )
            else:
                pieces.append(
                    f"SELECT value, {columns_of_rollups(tile.table, names)} FROM {tile.table}"
                    f" WHERE {where}{but} AND facet = {number}{only}"
                )
        tail = f"{f' HAVING {having}' * bool(having)} ORDER BY {order}, value LIMIT {limit:d}"
        merged = {name: FACET[name] for name in names}
        parameters: Parameters = {**places, "values": values} if values else places
        return await self._merged(pieces, {"value": "value"}, merged, parameters, tail)

    async def _tiles(
        self,
        period: Period,
        tables: Mapping[str, int],
        filters: Filters,
        nested_in: int,
        *,
        rolled: bool = True,
    ) -> tuple[list[Tile], str]:
        """Return where to look, and the condition on rows of roll-ups that they count."""
        known = Known()
        if rolled and not filters.need_rows:
            known = await self.known()
        found = cover(period.start, period.data_end, tables, known, nested_in)
        # A period that has just begun has no time to be compared with: no rows, but an answer.
        return found or [Tile(RAW, period.start, period.start)], alive(known.dead)

    async def _merged(
        self,
        pieces: Sequence[str],
        keys: Mapping[str, str],
        merged: Mapping[str, Measure],
        parameters: Parameters,
        tail: str = "",
        *,
        with_all: bool = False,
    ) -> list[Row]:
        """Ask for the pieces together; quantiles come in a histogram's place."""
        figures = ", ".join(
            histograms.columns(name) if figure.kind == histograms.KIND else figure.merged
            for name, figure in merged.items()
        )
        rows = await self.store.query(
            f"SELECT {''.join(f'{key}, ' for key in keys)}{figures}"
            f" FROM ({' UNION ALL '.join(pieces)}){_group(keys)}{tail}",
            parameters,
        )
        are_times = [figure.kind == histograms.KIND for figure in merged.values()]
        if not (with_all or any(are_times)):
            return rows
        found: list[Row] = []
        whole: list[Figure] | None = None
        for number, row in enumerate(rows, 1):
            read = _figures(row[len(keys) :], are_times)
            found.append((*row[: len(keys)], *_shown(read)))
            if with_all:
                whole = read if whole is None else _joined(whole, read)
            if number % ROWS_A_TURN == 0:
                await deferLater(self._clock, 0)
        if whole is not None:
            found.append((ALL, *_shown(whole)))
        return found


def _figures(values: Row, are_times: Sequence[bool]) -> list[Figure]:
    """Return a row's figures.

    :param are_times: which of them are histograms, of two columns each.
    """
    rest = iter(values)
    found: list[Figure] = []
    for is_times in are_times:
        value = next(rest)
        found.append(Histogram.read(str(value), str(next(rest))) if is_times else value)
    return found


def _joined(one: Sequence[Figure], other: Sequence[Figure]) -> list[Figure]:
    found: list[Figure] = []
    for a, b in zip(one, other, strict=True):
        if isinstance(a, Histogram) or isinstance(b, Histogram):
            assert isinstance(a, Histogram)
            assert isinstance(b, Histogram)
            found.append(a + b)
        else:
            found.append(int(a) + int(b))
    return found


def _shown(figures: Sequence[Figure]) -> list[Value]:
    """Return quantiles in the place of histograms."""
    found: list[Value] = []
    for figure in figures:
        found.extend(figure.quantiles() if isinstance(figure, Histogram) else [figure])
    return found


def _group(keys: Mapping[str, str]) -> str:
    return f" GROUP BY {', '.join(keys)}" if keys else ""


def _sites(sites: Sequence[int]) -> str:
    if not 0 < len(sites) <= MOST_SITES:
        raise ValueError(f"from 1 to {MOST_SITES} sites at once, not {len(sites)}")
    return f"({', '.join(f'{site:d}' for site in sites)})"


def bucket_of(period: Period) -> str:
    """Return SQL for the beginning of a row's bucket.

    Stretches with equally long buckets are worked out; a bucket of another length (a day whose
    clocks change) is a stretch of its own. There are three in most years.
    """
    stretches: list[tuple[int, str]] = []
    following = [*period.times[1:], period.end]
    regular_since: int | None = None
    for begin, end in zip(period.times, following, strict=True):
        if end - begin == period.bucket:
            if regular_since is None:
                regular_since = begin
                stretches.append((end, _equal_buckets(begin, period.bucket)))
            else:
                stretches[-1] = end, stretches[-1][1]
        else:
            regular_since = None
            stretches.append((end, f"toInt64({begin:d})"))
    if len(stretches) == 1:
        return stretches[0][1]
    *others, (_, last) = stretches
    choices = ", ".join(f"toUInt32(time) < {end:d}, {sql}" for end, sql in others)
    return f"multiIf({choices}, {last})"


def _equal_buckets(begin: int, bucket: int) -> str:
    return f"toInt64(intDiv(toUInt32(time) - {begin:d}, {bucket:d}) * {bucket:d} + {begin:d})"
