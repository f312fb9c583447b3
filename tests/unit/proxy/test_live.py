"""What a proxy tells of sites that somebody looks at."""

from __future__ import annotations

import pytest_twisted
from twisted.internet.task import Clock

from tests.unit.journal.samples import row
from watchducks.model.live import MOST_VISITS, WATCH, WATCH_SECONDS, channel_of, unpack
from watchducks.model.rows import Row
from watchducks.proxy.live import MAX_WATCHED, LiveTap
from watchducks.stores.memory import MemoryCache


class Kept:
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def record(self, row: Row) -> None:
        self.rows.append(row)


@pytest_twisted.ensureDeferred
async def test_only_what_somebody_looks_at_is_told_once_a_second() -> None:
    clock, sink = Clock(), Kept()
    cache = MemoryCache(clock)
    heard: list[bytes] = []
    tap = LiveTap(sink, cache, clock=clock)
    await tap.start()
    cache.subscribe(channel_of(1), heard.append)
    tap.record(row(1, site_id=1))
    clock.advance(1)
    assert heard == []
    for odd in (b"x", b"-1", b"9" * 30, b""):
        await cache.publish(WATCH, odd)
    await cache.publish(WATCH, b"1")
    for number in range(MOST_VISITS + 3):
        tap.record(row(number, site_id=1))
    tap.record(row(7, site_id=2))
    tap.record(row(8, site_id=1, kind="connection"))
    clock.advance(1)
    (message,) = heard
    requests, visits = unpack(message)
    assert requests == MOST_VISITS + 3
    assert [visit.path for visit in visits] == [f"/{n}" for n in range(3, MOST_VISITS + 3)]
    assert len(sink.rows) == MOST_VISITS + 6
    clock.advance(1)
    assert len(heard) == 1, "nothing is told of nothing"
    clock.pump([1] * (int(WATCH_SECONDS) + 1))
    tap.record(row(9, site_id=1))
    clock.advance(1)
    assert len(heard) == 1, "nobody looks any more"
    await tap.stop()
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_who_looks_is_bounded() -> None:
    clock = Clock()
    cache = MemoryCache(clock)
    tap = LiveTap(Kept(), cache, clock=clock)
    await tap.start()
    for number in range(MAX_WATCHED + 10):
        await cache.publish(WATCH, str(number).encode())
    assert len(tap._watched) == MAX_WATCHED
    await tap.stop()
