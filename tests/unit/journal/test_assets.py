"""What is remembered of visitors, and for how long."""

from __future__ import annotations

import pytest

from watchducks.journal import assets
from watchducks.journal.assets import BARE_PAGES, WITNESSES, AssetWatch, Seen


def see(watch: AssetWatch, day: int, segment: str, rows: list[Seen]) -> None:
    if any(watch.new_ones(day, [segment])):
        watch.see(day, rows)


def page(visitor: bytes, pages: int = 1) -> Seen:
    return Seen(1, visitor, pages, browses=False, loads=False)


def loads(visitor: bytes) -> Seen:
    return Seen(1, visitor, 0, browses=False, loads=True)


def witnesses() -> list[Seen]:
    return [loads(b"w%d" % number) for number in range(WITNESSES)]


def test_enough_pages_and_enough_witnesses() -> None:
    watch = AssetWatch()
    see(watch, 7, "a", [page(b"v", BARE_PAGES), *witnesses()[1:]])
    see(watch, 7, "b", [page(b"v")])
    assert not watch.is_bare(7, 1, b"v")
    see(watch, 7, "c", witnesses())
    assert watch.is_bare(7, 1, b"v")
    assert not watch.is_bare(7, 2, b"v")
    assert not watch.is_bare(8, 1, b"v")
    # One who comes to load something after all is no bot any more.
    see(watch, 7, "d", [loads(b"v")])
    assert not watch.is_bare(7, 1, b"v")


def test_one_witness_is_not_several() -> None:
    watch = AssetWatch()
    for number in range(2 * WITNESSES):
        see(watch, 7, f"s{number}", [page(b"v", BARE_PAGES), loads(b"w")])
    assert not watch.is_bare(7, 1, b"v")


def test_old_days_are_forgotten() -> None:
    watch = AssetWatch()
    for day in (7, 8, 9):
        see(watch, day, f"s{day}", [page(b"v", 2 * BARE_PAGES), *witnesses()])
    see(watch, 7, "late", [page(b"v", 2 * BARE_PAGES), *witnesses()])
    assert [watch.is_bare(day, 1, b"v") for day in (7, 8, 9)] == [False, True, True]


def test_no_more_than_so_many_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "MAX_WATCHED", WITNESSES + 1)
    watch = AssetWatch()
    see(watch, 7, "a", [*witnesses(), page(b"v", 50), page(b"late", 50)])
    assert watch.is_bare(7, 1, b"v")
    assert not watch.is_bare(7, 1, b"late")
