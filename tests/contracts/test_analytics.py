"""The schema and the questions, over chDB and ClickHouse: known rows in, known figures out."""

from __future__ import annotations

import ipaddress
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from tests.contracts.log_stores import KINDS, insert, log_store, log_store_url, row
from tests.servers.clickhouse import ClickHouse
from tests.servers.waiting import eventually
from watchducks.analytics.dns import DnsCounts
from watchducks.analytics.periods import DAY, HOUR, Period
from watchducks.analytics.plan import HAS_TTL, ttl_of
from watchducks.analytics.queries import Analytics
from watchducks.analytics.results import DnsNetwork, Failover, ReferrerTraffic
from watchducks.analytics.schema import Schema
from watchducks.analytics.tables import ENRICHED_WORDS, MIGRATIONS, Migration
from watchducks.analytics.verdicts import VerdictHistory
from watchducks.background import StartupError
from watchducks.model.rows import Row
from watchducks.model.verdicts import Verdict
from watchducks.stores.blocks import Block, Numbers, Texts
from watchducks.stores.interfaces import StoreUnavailable

CLOCK: Any = reactor

# Yesterday, so that a period of a day is over and no TTL is near.
START = int(time.time()) // DAY * DAY - DAY
PERIOD = Period(START, START + DAY, HOUR, START + DAY)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    return log_store_url(request.param, request)


@asynccontextmanager
async def analytics(url: str, directory: Path, rows: Sequence[Row]) -> AsyncIterator[Analytics]:
    """The questions over a store with these rows."""
    async with log_store(url, reactor) as store:
        schema = Schema(store, directory, clock=CLOCK, now=time.time, raw_days=30)
        await schema.start()
        await insert(store, rows)
        yield Analytics(store, clock=CLOCK)


@pytest_twisted.ensureDeferred
async def test_traffic(url: str, tmp_path: Path) -> None:
    rows = [
        row(START, response_bytes=10, request_bytes=1),
        row(START + HOUR - 1, response_bytes=20, request_bytes=2),
        row(START + HOUR, response_bytes=40),
        row(START + 5, kind="connection", status=0, response_bytes=100),
        row(START + DAY, response_bytes=8000),  # after the period
        row(START - 1),  # the period before
        row(START - DAY),
        row(START - DAY - 1),  # before that
        row(START, site_id=2),
    ]
    async with analytics(url, tmp_path, rows) as ask:
        traffic = await ask.traffic(1, PERIOD)

        assert traffic.requests == 3
        assert traffic.connections == 1
        assert (traffic.request_bytes, traffic.response_bytes) == (3, 170)
        assert (traffic.requests_before, traffic.requests_change) == (2, 0.5)
        assert [point.time for point in traffic.points] == list(range(START, START + DAY, HOUR))
        assert [point.requests for point in traffic.points] == [2, 1] + [0] * 22
        assert [point.requests_before for point in traffic.points] == [1] + [0] * 22 + [1]
        assert [point.connections for point in traffic.points] == [1] + [0] * 23
        assert await ask.requests_by_site([1, 2, 3], PERIOD) == {1: 3, 2: 1}
        assert await ask.requests_by_site([], PERIOD) == {}


@pytest_twisted.ensureDeferred
async def test_a_period_that_is_not_over_is_compared_with_as_much(url: str, tmp_path: Path) -> None:
    noon = START + 12 * HOUR
    rows = [row(START + 1), row(START - DAY + 1), row(START - DAY + 13 * HOUR)]
    async with analytics(url, tmp_path, rows) as ask:
        traffic = await ask.traffic(1, Period(START, START + DAY, HOUR, noon))
        assert (traffic.requests, traffic.requests_before) == (1, 1)


@pytest_twisted.ensureDeferred
async def test_percentiles_of_anything_are_near_the_exact_ones(url: str, tmp_path: Path) -> None:
    chance = random.Random(1)
    every = sorted(int(chance.lognormvariate(10, 2)) + 1 for _ in range(5000))
    seldom = [1, 40, 3_000_000]
    rows = [row(START, duration_us=us) for us in every]
    rows += [row(START + HOUR, duration_us=us) for us in seldom]
    rows += [row(START + 2 * HOUR, duration_us=0)]  # not measured
    async with analytics(url, tmp_path, rows) as ask:
        latency = await ask.latency(1, PERIOD)
    many, few, none = latency.points[:3]
    for found, share in ((many.p50_ms, 0.5), (many.p90_ms, 0.9), (many.p95_ms, 0.95)):
        assert found == pytest.approx(every[int(share * len(every)) - 1] / 1000, rel=0.01)
    assert many.p99_ms == pytest.approx(every[int(0.99 * len(every)) - 1] / 1000, rel=0.03)
    assert few.p50_ms is not None
    assert 0 < few.p50_ms < 0.1
    assert few.p99_ms == pytest.approx(3000, rel=0.09)
    assert (none.p50_ms, none.count) == (None, 0)


@pytest_twisted.ensureDeferred
async def test_latency(url: str, tmp_path: Path) -> None:
    def ms(duration: float, origin: float, **changes: Any) -> Row:
        return row(
            START + 60, duration_us=int(duration * 1000), origin_us=int(origin * 1000), **changes
        )

    rows = [ms(n, n / 2, path=f"/{n % 4}") for n in range(1, 101)]
    rows += [ms(9999, 0, path="/rare"), ms(5000, 0, status=101), ms(5000, 0, status=499)]
    rows += [row(START - 5, duration_us=100_000)]
    async with analytics(url, tmp_path, rows) as ask:
        latency = await ask.latency(1, PERIOD)

        total = latency.total
        assert total.count == 101
        assert total.mean_ms == pytest.approx((5050 + 9999) / 101)
        assert total.origin_mean_ms == pytest.approx(
            25.25
        )  # the one without an origin's answer apart
        assert total.own_mean_ms == pytest.approx((2525 + 9999) / 101)
        assert total.p50_ms == pytest.approx(51, abs=1.5)
        assert total.p90_ms == pytest.approx(91, abs=1.5)
        assert total.p95_ms == pytest.approx(96, abs=1.5)
        # Interpolated towards the one slow answer, differently by version.
        assert total.p99_ms is not None
        assert 98 < total.p99_ms < 9999
        assert latency.points[0].count == 101
        assert latency.points[0].p50_ms == total.p50_ms
        assert (latency.points[1].count, latency.points[1].mean_ms) == (0, None)
        # "/rare" was too rare to be the slowest. Of four paths three are fastest, one is left.
        assert [path.path for path in latency.fastest] == ["/1", "/2", "/3"]
        assert [path.path for path in latency.slowest] == ["/0"]
        assert latency.fastest[0].mean_ms == pytest.approx(49)
        assert latency.mean_before_ms == 100
        *earlier, last = (point.p50_before_ms for point in latency.points)
        assert earlier == [None] * 23
        assert last == pytest.approx(100, rel=0.045)  # half a bucket
        assert latency.mean_change == pytest.approx((total.mean_ms or 0) / 100 - 1)


@pytest_twisted.ensureDeferred
async def test_status(url: str, tmp_path: Path) -> None:
    codes = [200] * 5 + [304, 404, 404, 500, 999]
    rows = [row(START + 2 * HOUR, status=status) for status in codes]
    rows += [row(START, kind="connection", status=0), row(START - 9, status=503)]
    async with analytics(url, tmp_path, rows) as ask:
        status = await ask.status(1, PERIOD)

        point = status.points[2]
        assert (point.success, point.redirection, point.client_error) == (5, 1, 2)
        assert (point.server_error, point.other, point.informational) == (1, 1, 0)
        assert [(code.status, code.count) for code in status.codes] == [
            (200, 5),
            (404, 2),
            (304, 1),
            (500, 1),
            (999, 1),
        ]
        assert (status.requests, status.success_rate) == (10, 0.6)
        assert status.success_rate_before == 0


@pytest_twisted.ensureDeferred
async def test_visitors_are_never_summed(url: str, tmp_path: Path) -> None:
    rows = [
        row(START, client="192.0.2.1"),
        row(START + HOUR, client="192.0.2.1"),
        row(START + HOUR, client="192.0.2.2"),
        row(START + HOUR, client="192.0.2.2", user_agent="Mozilla/5.0 (another)"),
        row(START + HOUR, client="192.0.2.9", kind="connection"),
        row(START + HOUR, client="192.0.2.1", site_id=2),
        row(START - 1, client="192.0.2.1"),
    ]
    async with analytics(url, tmp_path, rows) as ask:
        visitors = await ask.visitors(1, PERIOD)
        assert [point.visitors for point in visitors.points] == [1, 3] + [0] * 22
        assert [point.visitors_before for point in visitors.points] == [0] * 23 + [1]
        assert visitors.visitors == 3
        assert (visitors.visitors_before, visitors.visitors_change) == (1, 2.0)


@pytest_twisted.ensureDeferred
async def test_paths_and_referrers(url: str, tmp_path: Path) -> None:
    rows = [
        row(START, path="/a?secret=1", referrer="https://search.test/?q=secret"),
        row(START, path="/a", status=502, referrer="https://search.test/"),
        row(START, path="/b", referrer="https://example.test/own"),
        row(START, path="/c'", client="192.0.2.7", referrer="https://other.test/"),
    ]
    async with analytics(url, tmp_path, rows) as ask:
        paths = await ask.paths(1, PERIOD)
        assert [(path.path, path.requests, path.errors) for path in paths] == [
            ("/a", 2, 1),
            ("/b", 1, 0),
            ("/c'", 1, 0),
        ]
        assert (paths[0].response_bytes, paths[0].mean_ms) == (2000, 20)
        assert len(await ask.paths(1, PERIOD, limit=1)) == 1
        assert await ask.referrers(1, PERIOD) == (
            ReferrerTraffic("search.test", 2, 1),
            ReferrerTraffic("other.test", 1, 1),
        )


@pytest_twisted.ensureDeferred
async def test_a_site_without_rows_has_zeros(url: str, tmp_path: Path) -> None:
    async with analytics(url, tmp_path, []) as ask:
        traffic = await ask.traffic(1, PERIOD)
        latency = await ask.latency(1, PERIOD)
        status = await ask.status(1, PERIOD)
        visitors = await ask.visitors(1, PERIOD)
    assert (traffic.requests, traffic.requests_change, len(traffic.points)) == (0, None, 24)
    assert (latency.total.count, latency.total.mean_ms, latency.mean_change) == (0, None, None)
    assert latency.fastest == latency.slowest == ()
    assert (status.requests, status.success_rate, status.codes) == (0, None, ())
    assert (visitors.visitors, visitors.visitors_change) == (0, None)


# --- schema -------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_many_hosts_migrate_at_once_and_again(url: str, tmp_path: Path) -> None:
    async with log_store(url, reactor) as store:
        await store.start()

        def host(number: int) -> Deferred[None]:
            schema = Schema(store, tmp_path / str(number), clock=CLOCK, now=time.time, raw_days=30)
            return Deferred.fromCoroutine(schema.apply())

        for _ in range(2):
            await gatherResults([host(number) for number in range(4)])
        versions = await store.query("SELECT DISTINCT version FROM schema_migrations")
        assert sorted(versions) == [(migration.number,) for migration in MIGRATIONS]
        await insert(store, [row(START)])
        assert await store.query("SELECT count() FROM requests") == [(1,)]


@pytest.mark.parametrize("adds", [True, False])
@pytest_twisted.ensureDeferred
async def test_an_older_program_starts_on_newer_tables_that_only_add(
    url: str, tmp_path: Path, adds: bool
) -> None:
    ours = MIGRATIONS[-1].number
    newer = Migration(
        ours + 1,
        ours if adds else ours + 1,
        lambda _: ["ALTER TABLE requests ADD COLUMN ducks UInt32"],
    )
    async with log_store(url, reactor) as store:
        await Schema(
            *(store, tmp_path),
            clock=CLOCK,
            now=time.time,
            raw_days=30,
            migrations=(*MIGRATIONS, newer),
        ).start()
        older = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30)
        if adds:
            await older.start()
            await insert(store, [row(START)])
            assert await store.query("SELECT ducks FROM requests") == [(0,)]
        else:
            with pytest.raises(StartupError, match=rf"^logs\.url: .*schema {ours + 1}.*newer") as e:
                await older.start()
            assert "\n" not in str(e.value)


@pytest_twisted.ensureDeferred
async def test_a_row_has_what_the_shipper_makes_of_it_or_nothing(url: str, tmp_path: Path) -> None:
    async with log_store(url, reactor) as store:
        await Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30).start()
        word = Texts([b"Firefox"], Numbers(8, bytes(1)))
        block = Block(
            1,
            {
                "time": Numbers(32, START.to_bytes(4, "little")),
                **dict.fromkeys((*ENRICHED_WORDS, "utm_campaign", "query", "network"), word),
                "page_view": Numbers(8, b"\1"),
            },
        )
        await store.insert_block("requests", block, "enriched")
        await store.insert("requests", ("time",), ([START],), "plain")
        found = await store.query(
            "SELECT toString(browser), toString(bot_reason), network, page_view"
            " FROM requests ORDER BY page_view"
        )
        assert found == [("", "", "", 0), ("Firefox", "Firefox", "Firefox", 1)]


@pytest_twisted.ensureDeferred
async def test_rows_live_as_long_as_the_settings_say_now(url: str, tmp_path: Path) -> None:
    async with log_store(url, reactor) as store:
        for days in (30, 7):
            schema = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=days)
            await schema.apply()
            shown = await store.query(
                "SELECT create_table_query FROM system.tables"
                " WHERE database = currentDatabase() AND name = 'requests'"
            )
            assert (ttl_of(days, "shipped") in str(shown)) == (store.version >= HAS_TTL)


@pytest_twisted.ensureDeferred
async def test_a_first_start_without_the_store_is_an_error_and_a_later_one_is_not(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    url = clickhouse.fresh_database()
    clickhouse.stop()
    async with log_store(url, reactor) as store:
        with pytest.raises(StartupError, match=r"^logs\.url: cannot reach"):
            await Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30).start()
    clickhouse.start()
    async with log_store(url, reactor) as store:
        schema = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30)
        await schema.start()
        await schema.stop()
    clickhouse.stop()
    async with log_store(url, reactor) as store:
        schema = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30)
        await schema.start()
        assert not schema.ready
        clickhouse.start()

        async def ready() -> bool:
            return schema.ready

        await eventually(CLOCK, ready, "the schema", 20)
        await schema.stop()


@pytest_twisted.ensureDeferred
async def test_dns(url: str, tmp_path: Path) -> None:
    async with log_store(url, reactor) as store:
        schema = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30)
        counts = DnsCounts(store, schema)
        one = ("example.com", "A", "NOERROR", "192.0.2.0/24", 1)
        with pytest.raises(StoreUnavailable):
            await counts.store(START, [one], "early")
        await schema.start()
        await counts.store(
            START,
            [
                ("example.com", "A", "NOERROR", "192.0.2.0/24", 5),
                ("example.com", "A", "NOERROR", "2001:db8::/48", 7),
                ("example.com", "AAAA", "NXDOMAIN", "192.0.2.0/24", 3),
                ("example.org", "A", "NOERROR", "192.0.2.0/24", 100),
            ],
            "first",
        )
        await counts.store(START + HOUR, [("example.com", "A", "NXDOMAIN", "", 1)], "second")
        for outside in (START - 1, START + DAY):
            await counts.store(outside, [one], f"outside-{outside}")

        dns = await Analytics(store, clock=CLOCK).dns("example.com", PERIOD)
        assert dns.questions == 16
        assert list(dns.types.items()) == [("A", 13), ("AAAA", 3)]
        assert list(dns.rcodes.items()) == [("NOERROR", 12), ("NXDOMAIN", 4)]
        assert dns.networks == (
            DnsNetwork("192.0.2.0/24", 8),
            DnsNetwork("2001:db8::/48", 7),
            DnsNetwork("", 1),
        )
        first, second, *rest = dns.points
        assert (first.time, first.questions) == (START, 15)
        assert first.types == {"A": 12, "AAAA": 3}
        assert second.rcodes == {"NXDOMAIN": 1}
        assert [point.questions for point in rest] == [0] * 22
        nobody = await Analytics(store, clock=CLOCK).dns("example.net", PERIOD)
        assert (nobody.questions, nobody.types, nobody.networks) == (0, {}, ())


@pytest_twisted.ensureDeferred
async def test_failovers_come_from_the_name_servers_verdicts(url: str, tmp_path: Path) -> None:
    proxy = ipaddress.ip_address("203.0.113.10")

    def verdict(at: int, healthy: bool) -> Verdict:
        return Verdict(proxy, healthy, float(at), "connection refused")

    async with log_store(url, reactor) as store:
        schema = Schema(store, tmp_path, clock=CLOCK, now=time.time, raw_days=30)
        first = VerdictHistory("ns1", store, schema, clock=CLOCK)
        second = VerdictHistory("ns2", store, schema, clock=CLOCK)
        first.record(verdict(START + 10, healthy=False), 0)
        await first.start()  # the tables are not there yet: it waits
        await schema.start()
        second.record(verdict(START + 12, healthy=False), 0)
        second.record(verdict(START + 50, healthy=True), 1)
        second.record(verdict(START + HOUR, healthy=False), 1)
        await second.stop()
        first.record(verdict(START + 40, healthy=True), 1)
        await first.stop()
        await first._flush()  # what came after the block that waited
        analytics = Analytics(store, clock=CLOCK)
        assert await analytics.failovers(PERIOD) == (Failover(START + 10, START + 50),)
        third = VerdictHistory("ns3", store, schema, clock=CLOCK)
        third.record(verdict(START + 2 * HOUR, healthy=False), 0)
        await third.stop()
        assert await analytics.failovers(PERIOD) == (
            Failover(START + 10, START + 50),
            Failover(START + 2 * HOUR, None),
        )
        await schema.stop()
