"""Ships one spool into a log store and says what it took; bench/logs.py runs it as a process.

``python -m bench.shipping URL DATA_DIR FIRST ROWS`` ships the segments of ``DATA_DIR/first``: one
that runs has shipped before, and what it reads at its beginning, the lists of user agents above
all, is not a row's. Then it gets those of ``DATA_DIR/sealed``, ships them until a query finds all
rows, and prints a :class:`Shipped` as JSON. ``FIRST`` and ``ROWS`` are how many rows they have.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.task import deferLater, react

from watchducks.analytics.schema import Schema
from watchducks.background import ThreadPool
from watchducks.journal.delivery import TABLE
from watchducks.journal.losses import Losses
from watchducks.journal.shipper import Shipper
from watchducks.journal.sources import Knowledge
from watchducks.stores.logs import THREADS, open_log_store

# How often it is looked whether all is there: small beside what is measured.
_POLL_SECONDS: Final = 0.002
# No run takes a tenth of it.
_PATIENCE_SECONDS: Final = 300.0


class Shipped(NamedTuple):
    """What it took.

    :ivar seconds: from when the segments were there until a query found all rows.
    :ivar cpu_seconds: of this process meanwhile, all threads.
    :ivar peak_bytes: the most memory that this process had; a store embedded in another is not it.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int


async def _ship(reactor: Any, url: str, data_dir: str, first: str, rows: str) -> None:
    directory = Path(data_dir)
    pools = [
        ThreadPool(name, size, reactor=reactor)
        for name, size in (("logs", THREADS), ("journal", 1))
    ]
    for pool in pools:
        pool.start()
    logs, journal = pools
    store = open_log_store(url, pool=logs, reactor=reactor)
    schema = Schema(store, directory / "journal", clock=reactor, now=time.time, raw_days=30)
    await schema.start()
    shipper = Shipper(
        directory / "spool",
        directory / "journal",
        store,
        schema,
        Losses(directory / "journal" / "lost-rows.json"),
        Knowledge(),
        pool=journal,
        clock=reactor,
        now=time.time,
        spool_bytes=sys.maxsize,
        node="bench",
    )

    async def shipped(count: int) -> None:
        until = time.monotonic() + _PATIENCE_SECONDS
        while shipper.shipped < count and time.monotonic() < until:
            await deferLater(reactor, _POLL_SECONDS)
        ((found,),) = await store.query(f"SELECT count() FROM {TABLE}")
        if found != count:
            raise SystemExit(f"{found} of {count} rows are in the log store")

    _move(directory / "first", directory / "spool")
    await shipper.start()
    await shipped(int(first))
    _move(directory / "sealed", directory / "spool")
    began, cpu = time.monotonic(), time.process_time()
    shipper.nudge()
    await shipped(int(first) + int(rows))
    seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
    peak_bytes = _peak_bytes()
    await shipper.stop()
    await schema.stop()
    for pool in pools:
        pool.stop()
    print(json.dumps(Shipped(seconds, cpu_seconds, peak_bytes)._asdict()))


def _move(segments: Path, spool: Path) -> None:
    spool.mkdir(exist_ok=True)
    for segment in segments.glob("*.segment"):
        segment.rename(spool / segment.name)


def _peak_bytes() -> int:
    """Return the most memory that this process had; getrusage begins with its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("the kernel does not say how much memory a process had")


if __name__ == "__main__":
    react(_ship, sys.argv[1:])
