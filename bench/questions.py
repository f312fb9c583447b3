"""Fills a log store with a month of rows and asks what each page asks; bench/logs.py runs it.

``python -m bench.questions URL DATA_DIR ROWS RUNS PID`` prints an :class:`Asked` as JSON; the
process id is the server's, 0: it is chDB's. Each run asks about another site. Nothing is kept from
one question to the next but what the store's own caches have.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.task import deferLater, react

from bench.month import DAYS, SITES, fill
from watchducks.analytics.cohorts import CohortQuestions
from watchducks.analytics.filters import Filters
from watchducks.analytics.periods import DAY, HOUR, Period, period
from watchducks.analytics.queries import Analytics
from watchducks.analytics.reading import Reader
from watchducks.analytics.schema import Schema
from watchducks.background import ThreadPool
from watchducks.stores.chdb import ChdbStore
from watchducks.stores.interfaces import LogStore
from watchducks.stores.logs import THREADS, open_log_store

# Whose pages are asked for, in turns: of the busiest, and of one with a thirtieth of its requests.
_ASKED_SITES: Final = (1, 2, 5, 30)
# Merges that the making of the rows left behind are waited for so long.
_MERGES_SECONDS: Final = 120.0


class Asked(NamedTuple):
    """Seconds of each run, by question; ``fill_seconds``: of making the rows and roll-ups.

    ``cpu``: the server's CPU seconds.
    """

    fill_seconds: float
    bytes_on_disk: int
    seconds: dict[str, list[float]]
    cpu: dict[str, list[float]]


def _cpu_seconds(pid: int) -> float:
    """Return what a process has used so far; finer than the ticks of /proc."""
    return time.clock_gettime((~pid << 3) | 2)  # clock_getcpuclockid(3)


def _questions(ask: Analytics, now: int, site: int) -> dict[str, Callable[[], Awaitable[object]]]:
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
        "traffic": lambda: ask.traffic(site, month),
        "traffic, Seoul": lambda: ask.traffic(site, seoul),
        "latency": lambda: ask.latency(site, month),
        "status": lambda: ask.status(site, month),
        "visitors": lambda: ask.visitors(site, month),
        "paths": lambda: ask.paths(site, month),
        "paths of a day": lambda: ask.paths(site, day),
        "entry pages": lambda: ask.facet(site, month, "entry"),
        "referrers": lambda: ask.referrers(site, month),
        "countries": lambda: ask.facet(site, month, "country"),
        "bots": lambda: ask.facet(site, month, "bot"),
        "traffic, filtered": lambda: ask.traffic(site, month, only),
        "live": lambda: ask.live(site),
    }


async def _merged(store: LogStore, reactor: Any) -> None:
    until = time.monotonic() + _MERGES_SECONDS
    while time.monotonic() < until:
        ((merges,),) = await store.query("SELECT count() FROM system.merges")
        if not merges:
            return
        await deferLater(reactor, 1.0)


async def _ask(reactor: Any, url: str, data_dir: str, rows: str, runs: str, server: str) -> None:
    pool = ThreadPool("logs", THREADS, reactor=reactor)
    pool.start()
    store = open_log_store(url, pool=pool, reactor=reactor)
    schema = Schema(
        store, Path(data_dir) / "journal", clock=reactor, now=time.time, raw_days=DAYS + 2
    )
    await schema.start()
    pid = store.pid if isinstance(store, ChdbStore) else int(server)
    assert pid, "the server does not run"
    now = int(time.time())
    began = time.monotonic()
    await fill(store, now, int(rows), reactor)
    filled = time.monotonic() - began
    await _merged(store, reactor)
    ((size,),) = await store.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = currentDatabase() AND active"
    )
    ask = Analytics(store, clock=reactor)
    seconds: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for run in range(int(runs)):
        questions = _questions(ask, now, _ASKED_SITES[run % len(_ASKED_SITES)])
        for name, question in questions.items():
            began, used = time.monotonic(), _cpu_seconds(pid)
            await question()
            seconds.setdefault(name, []).append(time.monotonic() - began)
            cpu.setdefault(name, []).append(_cpu_seconds(pid) - used)
    await schema.stop()
    pool.stop()
    print(json.dumps(Asked(filled, int(size), seconds, cpu)._asdict()))


if __name__ == "__main__":
    react(_ask, sys.argv[1:])
