"""What a row costs after its request: written, shipped, queryable. ``python -m bench.logs``.

Prints Markdown on standard output. The rows are those of 2,000 visitors of ten sites, 500 pages
each with 50 referrers, as fresh texts, as a request has them. ClickHouse is Debian's; chDB is what
is installed.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from twisted.internet.task import Clock

from bench.goals import OURS, AtLeast, AtMost
from bench.machine import BenchmarkError, describe, program
from bench.preparing import preparing_table
from bench.questions import Asked
from bench.report import Figure, markdown
from bench.shipping import Shipped
from tests.servers.clickhouse import ClickHouse
from watchducks.journal.losses import Losses
from watchducks.journal.spool import Spool
from watchducks.model.rows import Row

ROWS: Final = 100_000
SEGMENT_ROWS: Final = 10_000
# Rows of a busy turn of the reactor, and of a quiet one.
BUSY, QUIET = 20, 1

# For 100,000 rows to be queryable.
GOALS_MS: Final = {"ClickHouse": 250.0, "chDB": 100.0}
TABLES: Final = ["append", "prepare", *map(str.lower, GOALS_MS), "questions"]
# Of a question that a page asks, by the rows in the store; the two means have goals of their own.
QUESTION_MS: Final = {10_000_000: 50.0, 100_000_000: 150.0}
MEANS_MS: Final = {"mean of all, rows": 200.0, "mean of all, roll-ups": 20.0}
STORED: Final = 10_000_000
# Of which making the rows is the most.
_QUESTIONS_SECONDS: Final = 7200.0

# Of visitors whom a shipper that runs knows already.
_FIRST_ROWS: Final = 100
_VISITORS: Final = 2_000
_PAGES: Final = 500
_REFERRERS: Final = 50
_RUN_SECONDS: Final = 400.0
_US: Final = 1e6


def rows(count: int) -> Iterator[Row]:
    """Yield rows of some minutes ago, always the same ones but for their time."""
    chance = random.Random(1)  # noqa: S311 -- repeatable
    agents = [
        f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{n}.0.0.0 Safari/537.36"
        for n in range(100, 140)
    ]
    visitors = [
        (n % 10 + 1, f"www.site-{n % 10}.test", f"198.51.{n >> 8}.{n & 255}", chance.choice(agents))
        for n in range(_VISITORS)
    ]
    pages = [f"/articles/{n}/a-title-of-some-length-{n}" for n in range(_PAGES)]
    referrers = [
        "",
        "https://search.test/",
        *(f"https://www.site-1.test{p}" for p in pages[:_REFERRERS]),
    ]
    # One day, whenever it runs: a segment over midnight is two blocks.
    midnight_us = int(time.time() // 86_400 * 86_400) * 1_000_000
    for number in range(count):
        site, host, client, agent = chance.choice(visitors)
        yield Row(
            midnight_us + number * 20,
            site,
            "request",
            "https",
            "HTTP/1.1",
            "GET",
            host,
            chance.choice(pages).encode().decode(),
            200 if number % 10 else 404,
            "",
            client,
            agent.encode().decode(),
            chance.choice(referrers).encode().decode(),
            0,
            chance.randrange(100, 50_000),
            chance.randrange(500, 90_000),
            chance.randrange(500, 80_000),
        )


def _as_new(row: Row, number: int) -> Row:
    """Return the row of an address and of a page that nobody else has."""
    return row._replace(
        client=f"2001:db8::{number:x}", path=f"{row.path}-{number}", query=f"id={number}"
    )


def write(directory: Path, made: list[Row], turn_rows: int) -> float:
    """Write rows into sealed segments, so many a turn; return the CPU seconds that it took."""
    flushes: list[Callable[[], None]] = []
    clock = Clock()
    spool = Spool(
        directory,
        "bench",
        Losses(directory / "lost-rows.json"),
        flush_seconds=5,
        flush_rows=SEGMENT_ROWS,
        clock=clock,
        soon=flushes.append,
    )
    directory.mkdir(parents=True, exist_ok=True)
    began = time.process_time()
    record = spool.record
    for begin in range(0, len(made), turn_rows):
        for row in made[begin : begin + turn_rows]:
            record(row)
        flushes.pop()()
    took = time.process_time() - began
    clock.advance(5)  # seals what is left
    return took


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured.

    :ivar backlog: rows of the spool that is shipped for the rate and the memory.
    """

    runs: int
    backlog: int


FULL: Final = Scale(runs=5, backlog=1_000_000)
QUICK: Final = Scale(runs=1, backlog=ROWS)


class Stores:
    """Fresh log stores, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made = 0
        self._clickhouse: ClickHouse | None = None

    def fresh(self, kind: str) -> tuple[str, Path]:
        """Return the URL of an empty store, and an empty data directory."""
        self._made += 1
        data_dir = self._directory / f"data-{self._made}"
        if kind == "chDB":
            return f"chdb://{data_dir}/logs", data_dir
        if self._clickhouse is None:
            program("clickhouse-server")  # says how to install it
            directory = self._directory / "clickhouse"
            directory.mkdir()
            self._clickhouse = ClickHouse(directory)
            self._clickhouse.start()
        return self._clickhouse.fresh_database(), data_dir

    @property
    def pid(self) -> int:
        """The process id of ClickHouse; 0: it does not run."""
        return 0 if self._clickhouse is None else self._clickhouse.pid

    def stop(self) -> None:
        if self._clickhouse is not None:
            self._clickhouse.stop()


def ship(stores: Stores, kind: str, spool: Path, count: int) -> Shipped:
    """Ship a copy of a spool in a process of its own.

    :raises BenchmarkError: it did not work.
    """
    url, data_dir = stores.fresh(kind)
    shutil.copytree(spool, data_dir / "sealed")
    write(data_dir / "first", list(rows(_FIRST_ROWS)), BUSY)
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "bench.shipping",
                url,
                str(data_dir),
                str(_FIRST_ROWS),
                str(count),
            ],
            capture_output=True,
            text=True,
            timeout=_RUN_SECONDS,
            check=False,
        )
    finally:
        shutil.rmtree(data_dir)
    if done.returncode != 0:
        raise BenchmarkError(f"shipping into {kind} failed: {done.stderr.strip()[-500:]}")
    return Shipped(**json.loads(done.stdout))


def append_table(directory: Path, runs: int) -> str:
    """The reactor's part: a row recorded, encoded and written."""
    made = list(rows(ROWS))
    values: dict[int, list[float]] = {BUSY: [], QUIET: []}
    for run in range(runs):
        for turn_rows, costs in values.items():
            spool = directory / f"append-{turn_rows}-{run}"
            costs.append(write(spool, made, turn_rows) / len(made) * _US)
            shutil.rmtree(spool)
    return markdown(
        "A row appended to the spool, its part of the write included",
        [OURS],
        [
            Figure(f"{turn_rows} rows a turn", "us of CPU", {OURS: costs}, (AtMost(5, "us"),))
            for turn_rows, costs in values.items()
        ],
    )


def shipping_table(directory: Path, stores: Stores, kind: str, scale: Scale) -> str:
    """The shipper's part, with one store."""
    small, large = directory / "small", directory / "large"
    once = [ship(stores, kind, small, ROWS) for _ in range(scale.runs)]
    backlog = [ship(stores, kind, large, scale.backlog) for _ in range(max(1, scale.runs // 2))]
    return markdown(
        f"Sealed segments of {SEGMENT_ROWS:,} rows, shipped into {kind}",
        [OURS],
        [
            Figure(
                f"{ROWS:,} rows until they are queryable",
                "ms",
                {OURS: [one.seconds * 1000 for one in once]},
                (AtMost(GOALS_MS[kind], "ms"),),
            ),
            Figure(
                "a row, shipper's CPU", "us", {OURS: [one.cpu_seconds / ROWS * _US for one in once]}
            ),
            Figure(
                f"rate, {scale.backlog:,} rows",
                "rows/s",
                {OURS: [scale.backlog / one.seconds for one in backlog]},
                (AtLeast(50_000, "rows/s"),),
            ),
            Figure(
                "the shipper's process at most",
                "MB",
                {OURS: [one.peak_bytes / 1e6 for one in backlog]},
                (AtMost(150, "MB"),),
            ),
        ],
    )


def questions_table(stores: Stores, kind: str, stored: int, runs: int) -> str:
    """What pages ask, of a store with a month of rows.

    :raises BenchmarkError: it did not work.
    """
    url, data_dir = stores.fresh(kind)
    data_dir.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.questions", url, str(data_dir)),
            *(str(stored), str(runs), str(stores.pid if kind == "ClickHouse" else 0)),
        ],
        capture_output=True,
        text=True,
        timeout=_QUESTIONS_SECONDS,
        check=False,
    )
    shutil.rmtree(data_dir)
    if done.returncode != 0:
        raise BenchmarkError(f"asking {kind} failed: {done.stderr.strip()[-500:]}")
    asked = Asked(**json.loads(done.stdout.splitlines()[-1]))
    goal = next((ms for rows, ms in QUESTION_MS.items() if stored <= rows), 150.0)
    figures = [
        Figure(
            "making the rows and their roll-ups", "rows/s", {OURS: [stored / asked.fill_seconds]}
        ),
        Figure("on disk, a row", "bytes", {OURS: [asked.bytes_on_disk / stored]}),
    ]
    for name, seconds in asked.seconds.items():
        ordered = sorted(second * 1000 for second in seconds)
        p95 = ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)]
        cpu = [second * 1000 for second in asked.cpu[name]]
        figures += [
            Figure(f"{name}: CPU of the store", "ms", {OURS: cpu}),
            Figure(f"{name}: median", "ms", {OURS: [median(ordered)]}),
            Figure(f"{name}: p95", "ms", {OURS: [p95]}, (AtMost(MEANS_MS.get(name, goal), "ms"),)),
        ]
    return markdown(f"What pages ask, {stored:,} rows of 30 days in {kind}", [OURS], figures)


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.logs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to see that it works")
    parser.add_argument("--rows", nargs="+", choices=TABLES, default=TABLES, help="only these")
    parser.add_argument("--stored", type=int, help=f"rows of the questions; {STORED:,}")
    options = parser.parse_args(arguments)
    scale = QUICK if options.quick else FULL
    # Or each look whether ClickHouse is up yet prints a traceback.
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
    print(f"{describe()}; {scale.runs} runs\n")
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        directory = Path(name)
        stores = Stores(directory)
        try:
            if "append" in options.rows:
                print(append_table(directory, scale.runs), flush=True)
            if "prepare" in options.rows:
                known, new = directory / "known", directory / "new"
                write(known, list(rows(ROWS)), BUSY)
                write(new, list(map(_as_new, rows(SEGMENT_ROWS), range(SEGMENT_ROWS))), BUSY)
                print(preparing_table(known, new, scale.runs), flush=True)
            kinds = [kind for kind in GOALS_MS if kind.lower() in options.rows]
            if kinds:
                for size, spool in ((ROWS, "small"), (scale.backlog, "large")):
                    write(directory / spool, list(rows(size)), BUSY)
            for kind in kinds:
                print(shipping_table(directory, stores, kind, scale), flush=True)
            if "questions" in options.rows:
                stored = options.stored or (ROWS if options.quick else STORED)
                for kind in GOALS_MS:
                    print(questions_table(stores, kind, stored, 4 * scale.runs), flush=True)
        except BenchmarkError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        finally:
            stores.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
