"""Tiles cover every moment once, with the coarsest tables that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchducks.analytics.rollups import DAY, FACET_TABLES, HOUR, MINUTE, TRAFFIC_TABLES
from watchducks.analytics.tiles import RAW, Known, Tile, cover

SIZES = {**TRAFFIC_TABLES, **FACET_TABLES, RAW: 1}
ALL = Known(rolled_until=100 * DAY)


def test_the_middle_is_coarse_and_the_ends_are_fine() -> None:
    assert cover(DAY - HOUR - 90, 3 * DAY + 7, TRAFFIC_TABLES, ALL) == [
        Tile(RAW, DAY - HOUR - 90, DAY - HOUR - 60),
        Tile("traffic_minute", DAY - HOUR - 60, DAY - HOUR),
        Tile("traffic_hour", DAY - HOUR, DAY),
        Tile("traffic_day", DAY, 3 * DAY),
        Tile(RAW, 3 * DAY, 3 * DAY + 7),
    ]


def test_no_tile_reaches_over_an_edge() -> None:
    hours = [Tile("traffic_hour", 0, 2 * DAY)]
    assert cover(0, 2 * DAY, TRAFFIC_TABLES, ALL, nested_in=HOUR) == hours
    assert cover(0, DAY, FACET_TABLES, ALL, nested_in=MINUTE) == [Tile(RAW, 0, DAY)]


def test_what_is_not_rolled_up_is_asked_of_the_rows() -> None:
    assert cover(0, 2 * DAY, TRAFFIC_TABLES, Known(DAY + 5 * HOUR)) == [
        Tile("traffic_day", 0, DAY),
        Tile("traffic_hour", DAY, DAY + 5 * HOUR),
        Tile(RAW, DAY + 5 * HOUR, 2 * DAY),
    ]
    assert cover(0, DAY, TRAFFIC_TABLES, Known()) == [Tile(RAW, 0, DAY)]
    assert cover(2 * DAY, 3 * DAY, TRAFFIC_TABLES, Known(DAY)) == [Tile(RAW, 2 * DAY, 3 * DAY)]


def test_a_day_that_lacks_something_is_asked_of_its_hours_and_a_doubted_hour_of_its_rows() -> None:
    known = Known(100 * DAY, frozenset({1, 2, 9}), frozenset({2 * DAY + HOUR}))
    assert cover(0, 4 * DAY, TRAFFIC_TABLES, known) == [
        Tile("traffic_day", 0, DAY),
        Tile("traffic_hour", DAY, 2 * DAY + HOUR),
        Tile(RAW, 2 * DAY + HOUR, 2 * DAY + 2 * HOUR),
        Tile("traffic_hour", 2 * DAY + 2 * HOUR, 3 * DAY),
        Tile("traffic_day", 3 * DAY, 4 * DAY),
    ]
    assert cover(2 * DAY + HOUR - 60, 2 * DAY + HOUR + 60, TRAFFIC_TABLES, known) == [
        Tile("traffic_minute", 2 * DAY + HOUR - 60, 2 * DAY + HOUR),
        Tile(RAW, 2 * DAY + HOUR, 2 * DAY + HOUR + 60),
    ]


@given(
    st.integers(0, 10 * DAY),
    st.integers(0, 5 * DAY),
    st.integers(0, 15 * 24),
    st.sets(st.integers(0, 15 * 24), max_size=4),
    st.sets(st.integers(0, 15), max_size=3),
    st.sampled_from([TRAFFIC_TABLES, FACET_TABLES, {}]),
    st.sampled_from([0, 1, MINUTE, 15 * MINUTE, HOUR, DAY]),
)
def test_every_moment_once(
    start: int,
    length: int,
    rolled_hours: int,
    doubted_hours: set[int],
    partial: set[int],
    tables: dict[str, int],
    nested_in: int,
) -> None:
    doubted = frozenset(hour * HOUR for hour in doubted_hours)
    days = frozenset(partial | {hour // DAY for hour in doubted})
    known = Known(rolled_hours * HOUR, days, doubted)
    found = cover(start, start + length, tables, known, nested_in)
    at = start
    for tile in found:
        assert tile.start == at < tile.end
        size = SIZES[tile.table]
        assert tile.start % size == tile.end % size == 0
        assert tile.table == RAW or nested_in % size == 0
        if tile.table != RAW:
            assert tile.end <= known.rolled_until
            assert not any(tile.start < hour + HOUR and hour < tile.end for hour in doubted)
        if size == DAY:
            assert not days & set(range(tile.start // DAY, tile.end // DAY))
        at = tile.end
    assert at == start + length
