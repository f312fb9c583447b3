"""Every question, over chDB and ClickHouse: roll-ups answer exactly what the rows do."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from tests.contracts.log_stores import KINDS, log_store, log_store_url
from tests.contracts.log_world import hours
from tests.servers.waiting import eventually
from watchducks.analytics.cached import CachedAnalytics
from watchducks.analytics.events import annotate
from watchducks.analytics.export import COLUMNS, csv_lines, json_lines, pages
from watchducks.analytics.facets import ORDERS
from watchducks.analytics.filters import NONE, Filters
from watchducks.analytics.kept import KeptAnswers
from watchducks.analytics.periods import DAY, HOUR, MINUTE, Period, period
from watchducks.analytics.pulse import BLIND_SECONDS, LOOK_SECONDS, Pulse
from watchducks.analytics.queries import Analytics
from watchducks.analytics.results import Annotation, SiteAnnotation
from watchducks.analytics.rollups import FACETS
from watchducks.analytics.schema import Schema
from watchducks.analytics.upkeep import Upkeep
from watchducks.stores.interfaces import LogStore
from watchducks.stores.memory import MemoryCache

CLOCK: Any = reactor
# Four days, of which the last is today's beginning.
FIRST = int(time.time()) // DAY * DAY - 3 * DAY
ROWS = 3000

# Every row has it, so that filtering by it changes nothing but the tables that are asked.
ALL_ROWS = Filters(wanted=(("scheme", ("https",)),))


def made_rows() -> list[dict[str, Any]]:
    """Rows of two sites, with all that a shipper may know."""
    chance = random.Random(7)
    found = []
    for number in range(ROWS):
        seconds = FIRST + chance.randrange(3 * DAY + HOUR)
        is_bot = chance.random() < 0.2
        is_page = not is_bot and chance.random() < 0.4
        found.append(
            {
                "segment": f"segment-{number % 10}",
                "time": seconds,
                "time_us": seconds * 1_000_000,
                "site": chance.choice([1, 1, 2]),
                "kind": "connection" if number % 50 == 0 else "request",
                "scheme": "https",
                "method": chance.choice(["GET", "POST"]),
                "host": "www.example.test",
                "path": chance.choice(["/", "/a", "/b/c", "/b/d"]),
                "status": chance.choice([101, 200, 200, 200, 304, 404, 499, 500, 999]),
                "visitor": chance.choice([0, *range(1, 60)]),
                "referrer_host": chance.choice(["", "example.test", "search.test", "a.test"]),
                "request_bytes": chance.randrange(100),
                "response_bytes": chance.randrange(10_000),
                "duration_us": chance.randrange(1000, 90_000),
                "origin_us": chance.choice([0, chance.randrange(100_000)]),
                "browser": chance.choice(["", "Firefox", "Safari"]),
                "country": chance.choice(["KR", "DE", ""]),
                "device": chance.choice(["desktop", "mobile"]),
                "bot": "Crawler" if is_bot else "",
                "bot_reason": chance.choice(["declared-crawler", "headless"]) if is_bot else "",
                "channel": chance.choice(["direct", "search", "internal"]),
                "utm_campaign": chance.choice(["", "spring"]),
                "page_view": int(is_page),
            }
        )
    for row in found:
        # An id is of one site and one UTC day.
        if row["visitor"]:
            row["visitor"] += 100 * (row["time"] // DAY * 10 + row["site"])
    return found


MADE = made_rows()


async def insert(store: LogStore, rows: list[dict[str, Any]]) -> None:
    """Insert rows, a block a day as the shipper does."""
    for day in sorted({row["time"] // DAY for row in rows}):
        of_day = [row for row in rows if row["time"] // DAY == day]
        columns = (*of_day[0], "shipped")
        data = [[row[name] for row in of_day] for name in of_day[0]]
        # A while ago: what comes at this moment is not rolled up yet.
        data.append([int(time.time()) - MINUTE] * len(of_day))
        await store.insert("requests", columns, data, f"{rows[0]['site']}-{len(rows)}-{day}")


@asynccontextmanager
async def world(
    kind: str, request: pytest.FixtureRequest, directory: Path
) -> AsyncIterator[tuple[LogStore, Schema, Analytics]]:
    async with log_store(log_store_url(kind, request), reactor) as store:
        schema = Schema(store, directory, clock=CLOCK, now=time.time, raw_days=30)
        await schema.start()
        await insert(store, MADE)
        upkeep = Upkeep(store, schema, 30, clock=hours(time.time()), now=time.time)
        while await upkeep.step():
            pass
        yield store, schema, Analytics(store, clock=CLOCK)


PERIODS = {
    "hours of a day": Period(FIRST + DAY, FIRST + 2 * DAY, HOUR, FIRST + 2 * DAY),
    "minutes": Period(FIRST + 5 * MINUTE, FIRST + 3 * HOUR, MINUTE, FIRST + 3 * HOUR),
    "days in Nepal": period("month", FIRST + 3 * DAY + HOUR, zone="Asia/Kathmandu"),
    "as far as now": Period(
        FIRST + 2 * DAY, FIRST + 4 * DAY, DAY, FIRST + 2 * DAY + 1000 * MINUTE, is_cut=True
    ),
    "clocks change": Period(
        FIRST,
        FIRST + 3 * DAY,
        DAY,
        FIRST + 3 * DAY,
        (FIRST, FIRST + 23 * HOUR, FIRST + 23 * HOUR + DAY),
    ),
}


async def all_answers(ask: Analytics, asked: Period, filters: Filters) -> dict[str, Any]:
    """Ask everything that takes filters."""
    answers: dict[str, Any] = {
        "traffic": await ask.traffic(1, asked, filters),
        "status": await ask.status(1, asked, filters),
        "visitors": await ask.visitors(1, asked, filters),
        "paths": await ask.paths(1, asked, 10, filters),
        "referrers": await ask.referrers(1, asked, 10, filters),
    }
    for facet in FACETS:
        answers[f"of {facet}"] = await ask.facet(1, asked, facet, filters=filters)
    for order in ORDERS:
        answers[f"by {order}"] = await ask.facet(1, asked, "path", order=order, filters=filters)
    overview = await ask.overview([1, 2, 3], asked, filters)
    answers["overview"] = [
        (one.requests, one.visitors, one.mean_ms, one.p50_ms, one.p99_ms, one.success_rate)
        for one in (overview.totals, overview.before, *(site.totals for site in overview.busiest))
    ]
    answers["busiest"] = [site.points for site in overview.busiest]
    answers["latency"] = await ask.latency(1, asked, filters)
    return answers


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_roll_ups_answer_what_the_rows_answer(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as (store, schema, ask):
        expected = {}
        for name, asked in PERIODS.items():
            expected[name] = await all_answers(ask, asked, ALL_ROWS)
            assert await all_answers(ask, asked, Filters()) == expected[name], name
        # The oracle is none of ours.
        mine = [row for row in MADE if row["site"] == 1 and row["kind"] == "request"]
        asked = PERIODS["hours of a day"]
        of_day = [row for row in mine if asked.start <= row["time"] < asked.end]
        found = expected["hours of a day"]
        assert found["traffic"].requests == len(of_day)
        assert found["visitors"].visitors == len(
            {row["visitor"] for row in of_day if row["visitor"] and not row["bot_reason"]}
        )
        entries = [row for row in of_day if row["page_view"] and row["channel"] != "internal"]
        assert sum(row.requests for row in found["of entry"]) == len(entries)
        assert {row.value for row in found["of referrer"]} == {"search.test", "a.test"}

        # A doubted hour is not asked of roll-ups, whatever they say.
        await store.execute("INSERT INTO traffic_hour SELECT * FROM traffic_hour")
        await store.execute("INSERT INTO facets_hour SELECT * FROM facets_hour")
        assert (await ask.traffic(1, asked)).requests == 2 * len(of_day)
        await schema.doubt(["segment-1"], range(FIRST, FIRST + 3 * DAY, HOUR))
        another = Analytics(store, clock=CLOCK)
        assert await all_answers(another, asked, Filters()) == found


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_filters_of_any_dimension_combined(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as (_, _, ask):
        asked = replace(PERIODS["hours of a day"])
        mine = [
            row
            for row in MADE
            if row["site"] == 1
            and row["kind"] == "request"
            and asked.start <= row["time"] < asked.end
        ]

        async def count(filters: Filters) -> int:
            return (await ask.traffic(1, asked, filters)).requests

        assert await count(Filters("people")) == sum(not row["bot_reason"] for row in mine)
        assert await count(Filters("bots")) == sum(bool(row["bot_reason"]) for row in mine)
        several = Filters(
            "people",
            (("country", ("DE", "KR")), ("path", ("/b/*",)), ("status_class", ("2xx",))),
        )
        assert await count(several) == sum(
            not row["bot_reason"]
            and row["country"] != ""
            and row["path"].startswith("/b/")
            and row["status"] == 200
            for row in mine
        )
        assert await count(Filters(wanted=(("path", ("' OR 1 --",)),))) == 0
        facet = await ask.facet(1, asked, "country", filters=Filters("bots"))
        assert sum(row.requests for row in facet) == sum(
            bool(row["bot_reason"] and row["country"]) for row in mine
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_kept_answers_are_the_answers(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    asked = PERIODS["hours of a day"]

    async def answers(ask: Analytics | CachedAnalytics) -> list[Any]:
        return [
            await ask.traffic(1, asked),
            await ask.latency(1, asked),
            await ask.status(1, asked),
            await ask.visitors(1, asked),
            await ask.paths(1, asked, order="errors"),
            await ask.referrers(1, asked),
            await ask.facet(1, asked, "browser", limit=2),
            await ask.requests_by_site([1, 2], asked),
            await ask.totals([1, 2], asked),
            await ask.overview([1, 2], asked),
            await ask.overview([1, 2], asked, unranked=[1]),
            await ask.ranking([1, 2], asked, "visitors"),
            await ask.compare([1, 2], asked),
            await ask.failovers(asked),
            await ask.annotations(1, asked),
            await ask.dns("example.com", asked),
            await ask.live(1),
        ]

    async with world(kind, request, tmp_path) as (store, _, ask):
        clock = Clock()
        pulse = Pulse(store, clock=clock)
        kept = KeptAnswers(MemoryCache(CLOCK), "the store", pulse, clock=CLOCK)
        cached = CachedAnalytics(ask, kept)
        expected = await answers(ask)
        assert await answers(cached) == expected

        first = await cached.version()
        clock.advance(LOOK_SECONDS)
        assert cached.known_version is None
        assert await cached.version() == first
        await annotate(store, 1, "certificate", "long ago", 1)
        assert await cached.version() == first  # it was just looked at
        clock.advance(LOOK_SECONDS)
        assert await cached.version() != first

        async def stale() -> bool:
            assert await cached.live(1) == expected[-1]
            return cached.is_stale

        await store.stop()
        clock.advance(LOOK_SECONDS)
        away = await cached.version()
        clock.advance(BLIND_SECONDS)
        assert away != await cached.version()
        # The live question is not fresh for long; all others are.
        assert await answers(cached) == expected
        await eventually(CLOCK, stale, "a question to the store that is away", 5)
        await kept.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_rankings_annotations_and_who_is_there(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as (store, schema, ask):
        asked = PERIODS["hours of a day"]
        overview = await ask.overview([1, 2, 3], asked, unranked=[1])
        assert [site.site_id for site in overview.busiest] == [2]
        assert [site.site_id for site in overview.quickest] == [2]
        assert overview.totals == (await ask.overview([1, 2, 3], asked)).totals
        by_traffic = await ask.ranking([1, 2, 3], asked, "traffic")
        assert [(site.rank, site.site_id) for site in by_traffic.sites] == [(1, 1), (2, 2)]
        people = [
            row
            for row in MADE
            if row["site"] == 2
            and row["kind"] == "request"
            and not row["bot_reason"]
            and asked.start <= row["time"] < asked.end
        ]
        assert by_traffic.sites[1].totals.requests == len(people)
        assert (await ask.ranking([], asked, "traffic")).sites == ()
        short = Period(asked.start, asked.start + HOUR, HOUR, asked.start + HOUR)
        rated = await ask.ranking([1, 2], short, "success-rate")
        assert [site.rank for site in rated.sites] == [None, None]

        for _ in range(2):
            await annotate(store, asked.start + 5, "certificate", "renewed", 1)
        await annotate(store, asked.start + 9, "failover", "")
        await annotate(store, asked.start + 7, "certificate", "another's", 2)
        found = await ask.annotations(1, asked)
        assert {note for note in found if note.kind != "error-burst"} == {
            Annotation(asked.start + 5, "certificate", "renewed"),
            Annotation(asked.start + 9, "failover", ""),
        }
        of_both = await ask.lately([1], asked)
        assert [note for note in of_both if note.kind != "error-burst"] == [
            SiteAnnotation(0, asked.start + 9, "failover", ""),
            SiteAnnotation(1, asked.start + 5, "certificate", "renewed"),
        ]
        # Site 8 has many errors for two hours, and again later; site 9 has as many of many more.
        example = {**MADE[1], "kind": "request"}
        trouble = [
            {**example, "site": site, "time": asked.start + hour * HOUR + 7, "status": status}
            for site, good in ((8, 15), (9, 60))
            for hour in (2, 3, 9)
            for status in [200] * good + [503] * 5
        ]
        await schema.doubt(["trouble"], [asked.start + hour * HOUR for hour in (2, 3, 9)])
        await insert(store, trouble)
        another = Analytics(store, clock=CLOCK)  # which knows that they are late
        assert await another.lately([8, 9], asked) == (
            SiteAnnotation(8, asked.start + 9 * HOUR, "error-burst", "25%"),
            SiteAnnotation(8, asked.start + 2 * HOUR, "error-burst", "25%"),
            SiteAnnotation(0, asked.start + 9, "failover", ""),
        )

        now = int(CLOCK.seconds())
        rows = [
            {
                **MADE[1],
                "site": 9,
                "kind": "request",
                "time": now - 1,
                "visitor": visitor,
                "bot_reason": "",
                "page_view": 1,
            }
            for visitor in (1, 1, 2)
        ]
        await insert(store, [*rows, {**rows[0], "time": now - 400}])
        live = await ask.live(9)
        assert (live.requests, live.page_views, live.visitors, live.bot_requests) == (3, 3, 2, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest_twisted.ensureDeferred
async def test_export_has_every_row_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with world(kind, request, tmp_path) as (store, _, ask):
        # More in one second than a page has, equal ones among them; and what a spreadsheet runs.
        burst = [{**MADE[1], "site": 1, "time_us": 5, "path": f"=run{n % 5}"} for n in range(250)]
        await insert(store, burst)
        asked = Period(FIRST, FIRST + 4 * DAY, DAY, FIRST + 4 * DAY)
        expected = [row for row in [*MADE, *burst] if row["site"] == 1]

        async def export(filters: Filters = NONE) -> list[list[Any]]:
            reader = ask.reader
            return [page async for page in pages(reader, 1, asked, filters, page_rows=100)]

        found = await export()
        assert max(len(page) for page in found) == 100
        names = list(COLUMNS)
        assert sorted(
            (row[names.index("path")], row[names.index("duration_us")])
            for page in found
            for row in page
        ) == sorted((row["path"], row["duration_us"]) for row in expected)
        text = b"".join(csv_lines(page, header=not n) for n, page in enumerate(found)).decode()
        table = list(csv.DictReader(io.StringIO(text, newline="")))
        assert len(table) == len(expected)
        assert {row["path"] for row in table if "run" in row["path"]} == {
            f"'=run{n}" for n in range(5)
        }
        objects = [json.loads(line) for line in b"".join(map(json_lines, found)).splitlines()]
        assert [row["status"] for row in objects] == [int(row["status"]) for row in table]
        assert "visitor" not in objects[0]
        only = await export(Filters("bots", (("path", ("/a",)),)))
        assert sum(map(len, only)) == sum(
            bool(row["bot_reason"]) and row["path"] == "/a" for row in expected
        )
