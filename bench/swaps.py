"""Swaps that nobody may notice: ``python -m bench.swaps [--swaps N] [--requests N] [--workers N]``.

The Debian package in a container with a systemd of its own, visitors who never pause
(:mod:`bench.steady`), and one swap after another until both numbers are reached. It ends with exit
code 1 if a single request failed, a question went unanswered, or a row was lost or counted twice.
Needs root, and what scripts/install-servers installs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from bench.machine import describe  # noqa: E402 - found by the path above
from tests.servers.container import build_package  # noqa: E402
from tests.servers.waiting import wait_until  # noqa: E402
from tests.system.host import Host, Visitors  # noqa: E402

# The embedded log store is opened by the last colour, and takes what waited.
_ROWS_SECONDS: Final = 120.0
# For 100,000 requests on two cores that everything shares, half of them the visitors' own.
_VISIT_SECONDS: Final = 1800.0


def _swaps(directory: Path, swaps: int, requests: int, workers: int) -> int:
    host = Host(directory / "container", build_package(directory))
    try:
        host.start()
        host.configure("workers = 0", f"workers = {workers}")
        host.swap()
        took = []
        with Visitors(host.container) as visitors:
            for number in range(swaps):
                began = time.monotonic()
                host.swap()
                took.append(time.monotonic() - began)
                print(f"swap {number + 1}: {took[-1]:.1f} s, {host.running()} runs", flush=True)
            visitors.wait_for(requests, _VISIT_SECONDS)
        found = visitors.found
        wait_until(lambda: host.rows() >= found["rows"], "all rows", _ROWS_SECONDS, every=1)
        rows = host.rows()
    finally:
        host.stop()
    total, failed = sum(found["done"].values()), sum(found["failed"].values())
    print(describe())
    print(f"{swaps} swaps with {workers} workers, {statistics.median(took):.1f} s each (median)")
    print(f"{total} requests and questions in {found['seconds']} s, {failed} failed")
    print(f"rows: {rows} in the log store, {found['rows']} expected")
    print(f"TLS: {found['resumed']} of {found['done'].get('resumed', 0)} sessions resumed")
    print(json.dumps(found, indent=1))
    return 1 if failed or rows != found["rows"] else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.swaps")
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=0, help="node.workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="swaps-") as name:
        sys.exit(_swaps(Path(name), options.swaps, options.requests, options.workers))


if __name__ == "__main__":
    main()
