"""The proxy beside nginx, HAProxy and Caddy, measured in one run: `make bench`.

Prints Markdown on standard output and what it does meanwhile on standard error. What is measured
and how is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.load import Load
from bench.machine import OTHER_CORE, BenchmarkError, check_cores, describe, program
from bench.rows import ROWS, Bench, Scale, chosen
from bench.servers import Servers

FULL = Scale(runs=5, seconds=4.0, idle=2000, sites=100_000)
QUICK = Scale(runs=1, seconds=1.0, idle=200, sites=10_000)
# Looked for before anything is started.
_PROGRAMS = ("nginx", "haproxy", "caddy", "wrk", "h2load", "clickhouse-server", "taskset")


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    options = _parse(arguments)
    usual = QUICK if options.quick else FULL
    scale = Scale(
        runs=options.runs or usual.runs,
        seconds=options.seconds or usual.seconds,
        idle=usual.idle,
        sites=usual.sites,
    )
    try:
        check_cores()
        for name in _PROGRAMS:
            program(name)
        # Or each look whether ClickHouse is up yet prints a traceback.
        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
        # The load that we make ourselves, and every server that is not measured.
        os.sched_setaffinity(0, {OTHER_CORE})
        print(f"{describe()}; {scale.runs} runs of {scale.seconds:g} s each\n")
        return _run(options.rows, scale)
    except BenchmarkError as error:
        _complain(error)
        return 1


def _run(rows: list[str], scale: Scale) -> int:
    failed = 0
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        directory = Path(name)
        # The workers of a server that is started as root are another user.
        directory.chmod(0o755)
        servers = Servers(directory)
        try:
            servers.start()
            bench = Bench(servers, Load(servers.origin, scale.seconds, directory), scale, _say)
            for row in chosen(rows):
                try:
                    print(row(bench), flush=True)
                except BenchmarkError as error:  # the other rows are worth having all the same
                    _complain(error)
                    failed += 1
        finally:
            servers.stop()
    return 1 if failed else 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.proxy", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        default=list(ROWS),
        metavar="ROW",
        help=f"only these: {', '.join(ROWS)}",
    )
    parser.add_argument("--runs", type=_runs, help="of each server (5; quick: 1)")
    parser.add_argument("--seconds", type=_seconds, help="of a run (4; quick: 1)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="to see that it works; the figures are good for nothing else",
    )
    return parser.parse_args(arguments)


def _runs(text: str) -> int:
    """Medians of more than that are for a machine that nobody else uses, and a night."""
    return int(_within(text, 1, 1000))


def _seconds(text: str) -> float:
    """Shorter than the clock tick of 10 ms allows, or than a pause: neither is of any use."""
    return _within(text, 0.5, 3600)


def _within(text: str, lowest: float, highest: float) -> float:
    value = float(text)
    if not lowest <= value <= highest:
        raise argparse.ArgumentTypeError(f"{text} is not between {lowest:g} and {highest:g}")
    return value


def _complain(error: BenchmarkError) -> None:
    print(f"bench: {error}", file=sys.stderr, flush=True)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
