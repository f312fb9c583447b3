"""Tiles cover every moment once, with the coarsest tables that fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchducks.analytics.rollups import DAY, FACET_TABLES, HOUR, MINUTE, TRAFFIC_TABLES
from watchducks.analytics.tiles import RAW, Tile, cover

SIZES = {**TRAFFIC_TABLES, **FACET_TABLES, RAW: 1}


def test_the_middle_is_coarse_and_the_ends_are_fine() -> None:
    assert cover(DAY - HOUR - 90, 3 * DAY + 7, TRAFFIC_TABLES) == [
        Tile(RAW, DAY - HOUR - 90, DAY - HOUR - 60),
        Tile("traffic_minute", DAY - HOUR - 60, DAY - HOUR),
        Tile("traffic_hour", DAY - HOUR, DAY),
        Tile("traffic_day", DAY, 3 * DAY),
        Tile(RAW, 3 * DAY, 3 * DAY + 7),
    ]


def test_no_tile_reaches_over_an_edge() -> None:
    assert cover(0, 2 * DAY, TRAFFIC_TABLES, nested_in=HOUR) == [Tile("traffic_hour", 0, 2 * DAY)]
    assert cover(0, DAY, FACET_TABLES, nested_in=MINUTE) == [Tile(RAW, 0, DAY)]


def test_doubted_days_are_asked_of_the_rows() -> None:
    assert cover(0, 4 * DAY, TRAFFIC_TABLES, {1, 9}) == [
        Tile("traffic_day", 0, DAY),
        Tile(RAW, DAY, 2 * DAY),
        Tile("traffic_day", 2 * DAY, 4 * DAY),
    ]
    assert cover(DAY - 60, DAY + 60, TRAFFIC_TABLES, {0, 1}) == [Tile(RAW, DAY - 60, DAY + 60)]


@given(
    st.integers(0, 10 * DAY),
    st.integers(0, 5 * DAY),
    st.sets(st.integers(0, 15), max_size=4),
    st.sampled_from([TRAFFIC_TABLES, FACET_TABLES, {}]),
    st.sampled_from([0, 1, MINUTE, 15 * MINUTE, HOUR, DAY]),
)
def test_every_moment_once(
    start: int, length: int, doubted: set[int], tables: dict[str, int], nested_in: int
) -> None:
    found = cover(start, start + length, tables, doubted, nested_in)
    at = start
    for tile in found:
        assert tile.start == at < tile.end
        size = SIZES[tile.table]
        assert tile.start % size == tile.end % size == 0
        assert tile.table == RAW or nested_in % size == 0
        if tile.table != RAW:
            assert not doubted & set(range(tile.start // DAY, -(-tile.end // DAY)))
        at = tile.end
    assert at == start + length
