"""What looking at the console costs the visitors: ``python -m bench.console [--quick]``.

Proxy and console share one reactor, as they do by default. Visitors come at a steady pace; in every
other run 200 requests a second are made for pages and figures of the console, and what the slowest
of a hundred visitors waits is put beside the runs without.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from bench.goals import OURS, Above  # noqa: E402 - found by the path above
from bench.machine import OTHER_CORE, check_cores, describe, on_core  # noqa: E402
from bench.servers import Servers, WatchDucks  # noqa: E402
from bench.visitors import paced  # noqa: E402
from tests.servers.ports import LOOPBACK  # noqa: E402

VISITORS_PER_SECOND: Final = 500
DASHBOARDS_PER_SECOND: Final = 200
# What an open page asks for, and pages themselves: one in eight.
PATHS: Final = (
    "/",
    *("/api/v1/sites/bench/traffic?range=day",) * 4,
    "/api/v1/sites/bench/latency?range=day",
    "/api/v1/sites/bench/status?range=day",
    "/api/v1/sites/bench/visitors?range=day",
)
_QUIET: Final = "the same without"
# For a console that answers fewer than are asked for: all are waited for.
_PATIENCE_SECONDS: Final = 120.0


class Both(WatchDucks):
    """Proxy and console on one reactor."""

    def document(self) -> dict[str, dict[str, Any]]:
        document = super().document()
        document["node"]["roles"] = ["proxy", "console"]
        return document


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.console", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--look", nargs=2, help=argparse.SUPPRESS)  # port, seconds
    options = parser.parse_args(arguments)
    if options.look:
        return look(int(options.look[0]), float(options.look[1]))
    runs, seconds = (1, 3.0) if options.quick else (5, 10.0)
    check_cores()
    os.sched_setaffinity(0, {OTHER_CORE})
    values: dict[str, list[float]] = {OURS: [], _QUIET: []}
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        servers = Servers(directory)
        try:
            servers.start()
            both = servers.of_kind(Both)
            for kind in (_QUIET, OURS):
                measure(both, kind, 1.0)  # what is asked first is slower
            for _, kind in itertools.product(range(runs), (_QUIET, OURS)):
                values[kind].append(measure(both, kind, seconds))
        finally:
            servers.stop()
    print(f"{describe()}; {runs} runs of {seconds:g} s each\n")
    for kind, found in values.items():
        shown = ", ".join(f"{each:.2f}" for each in found)
        print(f"{kind}: p99 {statistics.median(found):.2f} ms ({shown})")
    print(Above(2.0, over=_QUIET, unit="ms").stand(values))
    return 0


def measure(both: Both, kind: str, seconds: float) -> float:
    """Return what 99 of 100 visitors did not wait longer than, in milliseconds."""
    command = [
        *(sys.executable, "-m", "bench.console"),
        *("--look", str(both.ports["console"]), str(seconds + 1)),
    ]
    looking = None
    if kind == OURS:
        looking = subprocess.Popen(on_core(OTHER_CORE, command), cwd=_ROOT)
    try:
        took = paced(both, VISITORS_PER_SECOND, seconds)
    finally:
        if looking is not None and looking.wait(timeout=seconds + _PATIENCE_SECONDS):
            raise SystemExit("the console did not answer")
    return took[int(len(took) * 0.99)] * 1000


def look(port: int, seconds: float) -> int:
    """Ask for pages at a steady pace; 1 if that was not possible."""
    connections = [http.client.HTTPConnection(LOOPBACK, port, timeout=10) for _ in range(4)]
    begin = time.monotonic()
    for number in itertools.count():
        due = begin + number / DASHBOARDS_PER_SECOND
        if due > begin + seconds:
            break
        path, connection = PATHS[number % len(PATHS)], connections[number % len(connections)]
        time.sleep(max(0.0, due - time.monotonic()))  # noqa: TID251 -- a pace is what it is for
        connection.request("GET", path, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            print(f"{path}: {answer.status}", file=sys.stderr)
            return 1
    late = time.monotonic() - begin - seconds
    rate = DASHBOARDS_PER_SECOND * seconds / (seconds + max(0.0, late))
    print(f"the console answered {rate:.0f} requests a second", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
