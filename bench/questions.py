"""Fills a log store with a month of rows and asks what each page asks; bench/logs.py runs it.

``python -m bench.questions URL DATA_DIR ROWS RUNS`` makes the rows in the store itself: ten sites,
500 paths, 20,000 visitors a day, a fifth of it bots. It prints an :class:`Asked` as JSON. Nothing
is kept from one question to the next but what the store's own caches have.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.task import deferLater, react

from watchducks.analytics.cohorts import CohortQuestions
from watchducks.analytics.filters import Filters
from watchducks.analytics.periods import DAY, HOUR, Period, period
from watchducks.analytics.queries import Analytics
from watchducks.analytics.reading import Reader
from watchducks.analytics.schema import Schema
from watchducks.analytics.upkeep import Upkeep
from watchducks.background import ThreadPool
from watchducks.stores.interfaces import LogStore
from watchducks.stores.logs import THREADS, open_log_store

DAYS: Final = 30
SITES: Final = 10
# Of one statement that makes rows: some seconds of it.
_CHUNK: Final = 200_000


class Asked(NamedTuple):
    """Seconds of each run, by question; ``fill_seconds``: of making the rows and roll-ups."""

    fill_seconds: float
    bytes_on_disk: int
    seconds: dict[str, list[float]]


def _chunk(start: int, seconds: int, first: int, count: int) -> str:
    """Return the statement that makes ``count`` rows spread over ``seconds`` from ``start``."""
    chance = "cityHash64(n)"
    return (
        "INSERT INTO requests (segment, time, time_us, site, kind, scheme, protocol, method, host,"
        " path, status, visitor, referrer_host, response_bytes, duration_us, origin_us, browser,"
        " system, device, bot, bot_reason, channel, country, page_view)"
        f" SELECT 'made', toDateTime({start} + intDiv((n - {first}) * {seconds}, {count})) AS time,"
        f" toUInt64(toUInt32(time)) * 1000000, {chance} % {SITES} + 1 AS site, 'request', 'https',"
        " 'HTTP/2.0', 'GET', concat('www.site-', toString(site), '.test'),"
        # Half of the paths that are drawn are among the first 30.
        f" concat('/articles/', toString(intDiv({chance} % 500 * (intDiv({chance}, 500) % 500),"
        " 500)), '/of-some-length'),"
        f" if({chance} % 50 = 0, 404, if({chance} % 300 = 0, 502, 200)),"
        f" intDiv({chance}, 7) % 20000 + 1,"
        f" if({chance} % 4 = 0, concat('search-', toString({chance} % 90), '.test'), ''),"
        f" {chance} % 50000, 500 + intDiv({chance}, 11) % 90000,"
        f" 400 + intDiv({chance}, 11) % 80000,"
        f" concat('Browser ', toString(intDiv({chance}, 3) % 8)),"
        f" concat('System ', toString(intDiv({chance}, 5) % 6)),"
        f" if(intDiv({chance}, 13) % 2 = 0, 'desktop', 'mobile'),"
        f" if({chance} % 5 = 0, concat('Bot ', toString({chance} % 40)), ''),"
        f" if({chance} % 5 = 0, 'declared-crawler', ''),"
        f" if({chance} % 4 = 0, 'search', 'direct'), concat('C', toString({chance} % 60)),"
        f" {chance} % 5 != 0 AND intDiv({chance}, 17) % 3 = 0"
        f" FROM (SELECT number + {first} AS n FROM numbers({count}))"
    )


async def _fill(store: LogStore, start: int, rows: int) -> None:
    of_day = rows // DAYS
    for day in range(DAYS):
        chunks = -(-of_day // _CHUNK)
        seconds, count = DAY // chunks, of_day // chunks
        for chunk in range(chunks):
            first = (day * chunks + chunk) * count
            begin = start + day * DAY + chunk * seconds
            await store.execute(_chunk(begin, seconds, first, count))


def _questions(ask: Analytics, now: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """What the pages ask, of a month that ends now; and the plain mean."""
    month, seoul = period("month", now), period("month", now, zone="Asia/Seoul")
    day, sites = period("day", now), list(range(1, SITES + 1))
    rows = Period(month.start, now // HOUR * HOUR, DAY, now // HOUR * HOUR)
    only = Filters("people", (("country", ("C7",)),))
    every = Filters(wanted=(("scheme", ("https",)),))
    reader: Reader = ask.reader
    cohort: CohortQuestions = ask

    def mean(filters: Filters) -> Awaitable[object]:
        names = ["measured", "duration_sum"]
        return reader.traffic(sites, rows, names, filters=filters)

    return {
        "mean of all, rows": lambda: mean(every),
        "mean of all, roll-ups": lambda: mean(Filters()),
        "overview": lambda: cohort.overview(sites, month),
        "ranking": lambda: cohort.ranking(sites, month, "response-time"),
        "compare": lambda: cohort.compare(sites[:5], month),
        "traffic": lambda: ask.traffic(1, month),
        "traffic, Seoul": lambda: ask.traffic(1, seoul),
        "latency": lambda: ask.latency(1, month),
        "status": lambda: ask.status(1, month),
        "visitors": lambda: ask.visitors(1, month),
        "paths": lambda: ask.paths(1, month),
        "paths of a day": lambda: ask.paths(1, day),
        "entry pages": lambda: ask.facet(1, month, "entry"),
        "referrers": lambda: ask.referrers(1, month),
        "countries": lambda: ask.facet(1, month, "country"),
        "bots": lambda: ask.facet(1, month, "bot"),
        "traffic, filtered": lambda: ask.traffic(1, month, only),
        "live": lambda: ask.live(1),
    }


async def _ask(reactor: Any, url: str, data_dir: str, rows: str, runs: str) -> None:
    pool = ThreadPool("logs", THREADS, reactor=reactor)
    pool.start()
    store = open_log_store(url, pool=pool, reactor=reactor)
    schema = Schema(
        store, Path(data_dir) / "journal", clock=reactor, now=time.time, raw_days=DAYS + 1
    )
    await schema.start()
    now = int(time.time())
    began = time.monotonic()
    await _fill(store, now - DAYS * DAY, int(rows))
    # What came within the last second is not rolled up yet.
    await deferLater(reactor, 1.0)
    upkeep = Upkeep(store, schema, DAYS + 1, clock=reactor, now=time.time)
    while await upkeep.step():
        pass
    filled = time.monotonic() - began
    ((size,),) = await store.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active"
    )
    questions = _questions(Analytics(store, clock=reactor), now)
    seconds: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(int(runs)):
        for name, question in questions.items():
            began = time.monotonic()
            await question()
            seconds[name].append(time.monotonic() - began)
    await schema.stop()
    pool.stop()
    print(json.dumps(Asked(filled, int(size), seconds)._asdict()))


if __name__ == "__main__":
    react(_ask, sys.argv[1:])
