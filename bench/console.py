"""What looking at the console costs the visitors: ``python -m bench.console [--quick]``.

Proxy and console share one reactor, as they do by default. Visitors come at a steady pace to four
sites; in every other run 200 requests a second are made for pages and figures of the console
(``bench/dashboards.py``), and what the slowest of a hundred visitors waits is put beside the runs
without. ``bench/turns.py`` says how long a turn of the reactor took at most. Needs root.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from bench.dashboards import MIXES  # noqa: E402 - found by the path above
from bench.goals import OURS, Above  # noqa: E402
from bench.machine import (  # noqa: E402
    OTHER_CORE,
    check_cores,
    cpu_seconds,
    describe,
    family,
    on_core,
    prefer,
)
from bench.peers import Files, Origin  # noqa: E402
from bench.registry import HOST  # noqa: E402
from bench.servers import Servers, WatchDucks  # noqa: E402
from bench.turns import long_turns  # noqa: E402
from bench.visitors import paced  # noqa: E402
from tests.servers.clickhouse import ClickHouse  # noqa: E402

VISITORS_PER_SECOND: Final = 500
DASHBOARDS_PER_SECOND: Final = 200
SITES: Final = 4
_HOSTS: Final = (HOST, *(f"www.site-{number}.test" for number in range(1, SITES)))
_QUIET: Final = "the same without"
# For a console that answers fewer than are asked for: all are waited for.
_PATIENCE_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    :ivar took: seconds that each visitor waited, sorted.
    :ivar cpu: seconds of the appliance's, all of its threads.
    :ivar begin: on the monotonic clock; so is ``end``.
    :ivar looked: what ``bench/dashboards.py`` said; None: nobody looked.
    """

    took: list[float]
    cpu: float
    begin: float
    end: float
    looked: dict[str, Any] | None

    def slowest(self, share: float) -> float:
        """Return what this share of the visitors did not wait longer than, in milliseconds."""
        return self.took[min(len(self.took) - 1, int(len(self.took) * share))] * 1000


class Both(WatchDucks):
    """Proxy and console on one reactor, which is watched."""

    def __init__(self, directory: Path, files: Files, origin: Origin, logs: ClickHouse) -> None:
        super().__init__(directory, files, origin, logs, sites=SITES)
        self.turns = directory / "turns"

    def document(self) -> dict[str, dict[str, Any]]:
        document = super().document()
        document["node"]["roles"] = ["proxy", "console"]
        return document

    def command(self) -> list[str]:
        command = super().command()
        twistd = next(at for at, part in enumerate(command) if part.endswith("/twistd"))
        watched = [sys.executable, str(_ROOT / "bench" / "turns.py"), str(self.turns)]
        return [*command[:twistd], *watched, *command[twistd + 1 :]]


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.console", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short run of each")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one run")
    parser.add_argument("--mixes", nargs="+", choices=MIXES, default=list(MIXES))
    options = parser.parse_args(arguments)
    runs, seconds = (1, 3.0) if options.quick else (options.runs, options.seconds)
    check_cores()
    os.sched_setaffinity(0, {OTHER_CORE})
    found: dict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        servers = Servers(directory)
        try:
            servers.start()
            both = servers.of_kind(Both)
            # Log store and readers are on their core, too, and are not the visitors' business.
            prefer([os.getpid()], 2)
            prefer(family(servers.origin.pid), 1)
            for kind in (_QUIET, *options.mixes):
                measure(both, kind, 1.0)  # what is asked first is slower
            for _, kind in itertools.product(range(runs), (_QUIET, *options.mixes)):
                found[kind].append(measure(both, kind, seconds))
            servers.stop_one(both)
            for kind in found:
                report(kind, found, both.turns)
        finally:
            servers.stop()
    print(f"{describe()}; {runs} runs of {seconds:g} s each\n")
    return 0


def measure(both: Both, kind: str, seconds: float) -> Run:
    """Let visitors come, and perhaps people look at the console meanwhile."""
    looking = None
    if kind != _QUIET:
        command = [
            *(sys.executable, str(_ROOT / "bench" / "dashboards.py"), str(both.ports["console"])),
            *(kind, str(DASHBOARDS_PER_SECOND), str(seconds + 1)),
        ]
        looking = subprocess.Popen(on_core(OTHER_CORE, command), stdout=subprocess.PIPE)
        time.sleep(0.5)  # noqa: TID251 -- until it has begun; a little more or less is no matter
    begin, before = time.monotonic(), cpu_seconds(both.pid)
    looked = None
    try:
        took = paced(both, VISITORS_PER_SECOND, seconds, _HOSTS)
        end, cpu = time.monotonic(), cpu_seconds(both.pid) - before
    finally:
        if looking is not None:
            told, _ = looking.communicate(timeout=seconds + _PATIENCE_SECONDS)
            if looking.returncode:
                raise SystemExit("the console did not answer")
            looked = json.loads(told)
    return Run(took, cpu, begin, end, looked)


def report(kind: str, found: dict[str, list[Run]], turns: Path) -> None:
    """Print what the runs of a kind have shown."""
    runs = found[kind]

    def show(what: str, values: list[float], unit: str) -> None:
        each = ", ".join(f"{value:.3g}" for value in values)
        print(f"  {what}: {statistics.median(values):.3g} {unit} ({each})")

    print(f"{kind}:")
    for share in (0.5, 0.99, 0.999):
        show(f"visitors' p{share * 100:g}", [run.slowest(share) for run in runs], "ms")
    taken = [long_turns(turns, run.begin, run.end) for run in runs]
    show("longest turn", [max((t.took * 1000 for t in each), default=1) for each in taken], "ms")
    show("by CPU time", [max((t.cpu * 1000 for t in each), default=1) for each in taken], "ms")
    for limit in (0.001, 0.002, 0.005):
        counts = [sum(turn.cpu >= limit for turn in each) for each in taken]
        rates = [n / (run.end - run.begin) for n, run in zip(counts, runs, strict=True)]
        show(f"turns of {limit * 1000:g} ms of CPU time and more, a second", rates, "")
    show("CPU of a core", [100 * run.cpu / (run.end - run.begin) for run in runs], "%")
    looked = [run.looked for run in runs if run.looked is not None]
    if not looked:
        return
    show("answers a second", [each["rate"] for each in looked], "")
    show("their p50", [each["p50_ms"] for each in looked], "ms")
    show("their p99", [each["p99_ms"] for each in looked], "ms")
    values = {
        OURS: [run.slowest(0.99) for run in runs],
        _QUIET: [run.slowest(0.99) for run in found[_QUIET]],
    }
    print(f"  {Above(2.0, over=_QUIET, unit='ms').stand(values)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
