"""The name server beside NSD, gdnsd and PowerDNS, measured in one run.

Prints Markdown on standard output and what it does meanwhile on standard error. What is measured
and how is told in docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from bench.dns_servers import (
    KINDS,
    PEERS,
    Nsd,
    PowerDns,
    Served,
    WatchDucks,
    addresses_of,
    zone_name,
)
from bench.goals import OURS, AtMost, Ratio
from bench.machine import (
    OTHER_CORE,
    BenchmarkError,
    check_cores,
    cpu_seconds,
    describe,
    on_core,
    program,
    resident_bytes,
)
from bench.registry import keep_contents
from bench.report import Figure, markdown
from tests.servers.ports import LOOPBACK
from tests.servers.waiting import wait_until
from watchducks.model.zones import Record, ZoneContents

_PROGRAMS: Final = ("nsd", "gdnsd", "pdns_server", "dnsperf", "taskset")
_FEW: Final = 10
# So many different questions that no cache here holds them, and none comes again within a run.
_RANDOM_NAMES: Final = 1_000_000
# A client's cookie, as dig and unbound send one: eight octets.
_COOKIE: Final = "10:6475636b6475636b"
_MICROSECONDS: Final = 1e6
_MEGABYTE: Final = 1e6
# How much two measurements of one server differ here: less is no difference.
_SAME: Final = 1.1
# A generator that loses more than this measures something else.
_MOST_LOST: Final = 0.001
# Changes of a zone, one after another, and how often it is looked for them.
_CHANGES: Final = 9
_LOOK_SECONDS: Final = 0.01
# Zones are loaded, and dnsperf waits for what is under way.
_PATIENCE_SECONDS: Final = 30.0

_COMPLETED: Final = re.compile(r"Queries completed:\s+(\d+)")
_SENT: Final = re.compile(r"Queries sent:\s+(\d+)")
_RCODES: Final = re.compile(r"Response codes:\s+(\w+) \d+ \(100\.00%\)\n")

Values = defaultdict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Scale:
    """:ivar runs: of each server, one after the other. :ivar seconds: of each run.
    :ivar zones: of the large table."""

    runs: int
    seconds: int
    zones: int


FULL: Final = Scale(runs=5, seconds=3, zones=100_000)
QUICK: Final = Scale(runs=1, seconds=1, zones=5_000)


@dataclass
class Bench:
    """The servers, which are started when a row first wants them, and the load."""

    directory: Path
    scale: Scale
    _running: dict[str, Served] = field(default_factory=dict)

    def server(self, kind: str, zones: int, *, rrl: int = 0) -> Served:
        """Return a running server; the same one for each row that wants the same."""
        key = f"{kind}-{zones}-{rrl}"
        if key not in self._running:
            _say(f"starting {kind} with {zones:,} zones")
            directory = Path(tempfile.mkdtemp(dir=self.directory)) / kind
            directory.parent.chmod(0o755)
            made: Served
            if kind == OURS:
                made = WatchDucks(directory, zones, rrl_per_second=rrl)
            else:
                made = PEERS[kind](directory, zones)
            try:
                made.start()
            except AssertionError as error:
                raise BenchmarkError(str(error)) from None
            self._running[key] = made
        return self._running[key]

    def stop(self) -> None:
        """Stop every server."""
        while self._running:
            self._running.popitem()[1].stop()

    def measure(
        self, servers: Mapping[str, Served], questions: Path, rcode: str, *options: str
    ) -> Values:
        """Return CPU microseconds of a question by server: each in turn, as often as there are
        runs, so that what else the machine does meets all of them."""
        values = Values(list)
        for number in range(self.scale.runs):
            for name, server in servers.items():
                _say(f"run {number + 1} of {self.scale.runs}: {name}")
                cost = _dnsperf(server, questions, rcode, self.scale.seconds, *options)
                values[name].append(cost * _MICROSECONDS)
        return values

    def questions(self, name: str, lines: Iterable[str]) -> Path:
        """Return dnsperf's input: a name and a type in each line."""
        file = self.directory / name
        if not file.exists():
            file.write_text("".join(f"{line}\n" for line in lines))
        return file

    def all_kinds(self) -> dict[str, Served]:
        return {kind: self.server(kind, _FEW) for kind in KINDS}


def _dnsperf(server: Served, questions: Path, rcode: str, seconds: int, *options: str) -> float:
    """Return CPU seconds of a question.

    :raises BenchmarkError: a response had another code, or too many were lost.
    """
    command = [
        *(program("dnsperf"), "-s", LOOPBACK, "-p", str(server.port), "-d", str(questions)),
        *("-l", str(seconds), "-c", "20", "-T", "1", "-q", "200", "-e", *options),
    ]
    before = cpu_seconds(server.pid)
    done = subprocess.run(
        on_core(OTHER_CORE, command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + _PATIENCE_SECONDS,
        check=False,
    )
    used = cpu_seconds(server.pid) - before
    completed, sent = _COMPLETED.search(done.stdout), _SENT.search(done.stdout)
    codes = _RCODES.search(done.stdout)
    if done.returncode or completed is None or sent is None or codes is None:
        raise BenchmarkError(f"{server.name}: dnsperf failed:\n{done.stdout}{done.stderr}")
    count = int(completed[1])
    if codes[1] != rcode or int(sent[1]) - count > _MOST_LOST * count:
        raise BenchmarkError(f"{server.name}: not what was expected:\n{done.stdout}")
    return used / count


# --- the rows -----------------------------------------------------------------------------------


def positive(bench: Bench) -> str:
    """Addresses of few names."""
    return _of_all(bench, "Cached, positive", _few(bench), "NOERROR", goals=(Ratio(2, "NSD"),))


def negative(bench: Bench) -> str:
    """Few names that do not exist."""
    names = (f"nope-{n}.{zone_name(n % _FEW)} A" for n in range(20 * _FEW))
    file = bench.questions("negative", names)
    return _of_all(bench, "Cached, NXDOMAIN", file, "NXDOMAIN", goals=(Ratio(2, "NSD"),))


def cookie(bench: Bench) -> str:
    """The same as the positive ones, from clients with a cookie that is new to the server."""
    servers = bench.all_kinds()
    # It answers BADCOOKIE until a client has come back with its own.
    del servers[PowerDns.name]
    values = bench.measure(servers, _few(bench), "NOERROR", "-E", _COOKIE)
    figure = Figure("a question", "us of CPU", values, (Ratio(2, "NSD"),))
    return markdown(
        "Cached, positive, each with a client cookie, answered with a server cookie",
        list(servers),
        [figure],
    )


def tcp(bench: Bench) -> str:
    """On 20 kept connections."""
    return _of_all(bench, "Cached, positive, TCP", _few(bench), "NOERROR", "-m", "tcp")


def misses(bench: Bench) -> str:
    """Names that do not exist, each asked for once."""
    names = (f"x{n:07d}.{zone_name(n % _FEW)} A" for n in range(_RANDOM_NAMES))
    file = bench.questions("random", names)
    return _of_all(bench, "Misses, NXDOMAIN", file, "NXDOMAIN", goals=(Ratio(15, "NSD"),))


def cold(bench: Bench) -> str:
    """Names that exist, more than our cache has room for, in turn."""
    zones = bench.scale.zones
    names = [f"www.{zone_name(n)} A" for n in range(zones)]
    names += [f"{zone_name(n)} A" for n in range(zones)]
    file = bench.questions("cold", names)
    servers = {kind: bench.server(kind, zones) for kind in (Nsd.name, OURS)}
    figure = Figure(
        "a question", "us of CPU", bench.measure(servers, file, "NOERROR"), (Ratio(15, "NSD"),)
    )
    return markdown(
        f"Misses, positive: {2 * zones:,} names of {zones:,} zones in turn", list(servers), [figure]
    )


def many(bench: Bench) -> str:
    """Whether a question costs more where there are many zones."""
    sizes = {f"{size:,} zones": size for size in (_FEW, bench.scale.zones)}
    servers = {title: bench.server(OURS, size) for title, size in sizes.items()}
    few, most = sizes
    rows = {
        "cached": bench.measure(servers, _few(bench), "NOERROR"),
        "random NXDOMAIN": bench.measure(
            servers,
            bench.questions(
                "random", (f"x{n:07d}.{zone_name(n % _FEW)} A" for n in range(_RANDOM_NAMES))
            ),
            "NXDOMAIN",
        ),
    }
    figures = [
        Figure(title, "us of CPU", values, (Ratio(_SAME, few, of=most),))
        for title, values in rows.items()
    ]
    return markdown(f"{OURS} with few and with many zones", list(sizes), figures)


def limited(bench: Bench) -> str:
    """What response rate limiting costs where it limits nothing."""
    servers = {
        "off": bench.server(OURS, _FEW),
        "on": bench.server(OURS, _FEW, rrl=1_000_000),
    }
    values = bench.measure(servers, _few(bench), "NOERROR")
    figure = Figure("a question", "us of CPU", values)
    return markdown(f"{OURS}: response rate limiting", list(servers), [figure])


def memory(bench: Bench) -> str:
    """Fresh servers with many zones, once each: memory, and the time until the last is answered."""
    zones = bench.scale.zones
    loading, again, resident = Values(list), Values(list), Values(list)
    for kind in (Nsd.name, OURS):
        # Written before it is started: only ours has a registry to be filled.
        server = bench.server(kind, zones)
        server.stop()
        if isinstance(server, WatchDucks):
            server.forget_sites()
        loading[kind].append(_starting_seconds(server))
        resident[kind].append(resident_bytes(server.pid) / _MEGABYTE)
        server.stop()
        again[kind].append(_starting_seconds(server))
    return markdown(
        f"{zones:,} zones, a fresh server",
        [Nsd.name, OURS],
        [
            Figure("until the last is answered", "s", loading, (AtMost(20, "s"),)),
            Figure("the same after a restart", "s", again, (AtMost(20, "s"),)),
            Figure("resident memory", "MB", resident, (AtMost(400, "MB"),)),
        ],
    )


def _starting_seconds(server: Served) -> float:
    began = time.monotonic()
    server.start()
    return time.monotonic() - began


def change(bench: Bench) -> str:
    """One of many zones is changed in the registry, by a process that tells nobody: until two name
    servers that share it answer the change."""
    zones = bench.scale.zones
    first = bench.server(OURS, zones)
    if not isinstance(first, WatchDucks):
        raise BenchmarkError("it is not ours")
    second = WatchDucks(bench.directory / "second", zones, registry=first.registry)
    second.start()
    seconds = Values(list)
    try:
        for number in range(1, _CHANGES + 1):
            _say(f"change {number} of {_CHANGES}")
            address = f"198.51.100.{number}"
            rdata = ip_address(address).packed
            contents = ZoneContents(records=(Record(b"\x05bench", 1, 60, rdata),))
            keep_contents(first.registry, "bench", contents)
            began = time.monotonic()
            wait_until(
                lambda: all(
                    addresses_of(server.port, f"bench.{zone_name(0)}") == [address]  # noqa: B023
                    for server in (first, second)
                ),
                "the change to be answered",
                _PATIENCE_SECONDS,
                every=_LOOK_SECONDS,
            )
            seconds[OURS].append(time.monotonic() - began)
    except AssertionError as error:
        raise BenchmarkError(str(error)) from None
    finally:
        second.stop()
    return markdown(
        f"One of {zones:,} zones changed, two name servers that nobody tells",
        list(seconds),
        [Figure("until both answer", "s", seconds, (AtMost(2, "s"),))],
    )


def _few(bench: Bench) -> Path:
    names = [f"{www}{zone_name(n)} A" for n in range(_FEW) for www in ("", "www.")]
    return bench.questions("few", names)


def _of_all(
    bench: Bench, title: str, file: Path, rcode: str, *options: str, goals: tuple[Ratio, ...] = ()
) -> str:
    values = bench.measure(bench.all_kinds(), file, rcode, *options)
    return markdown(title, KINDS, [Figure("a question", "us of CPU", values, goals)])


ROWS: Final[Mapping[str, Callable[[Bench], str]]] = {
    "memory": memory,
    "change": change,
    "positive": positive,
    "negative": negative,
    "cookie": cookie,
    "tcp": tcp,
    "misses": misses,
    "cold": cold,
    "many": many,
    "limited": limited,
}


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="bench.dns", description=__doc__)
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=list(ROWS),
        default=list(ROWS),
        metavar="ROW",
        help=f"only these: {', '.join(ROWS)}",
    )
    parser.add_argument("--runs", type=int, choices=range(1, 101), metavar="N", help="5; quick: 1")
    parser.add_argument("--quick", action="store_true", help="to see that it works, and no more")
    options = parser.parse_args(arguments)
    usual = QUICK if options.quick else FULL
    scale = Scale(options.runs or usual.runs, usual.seconds, usual.zones)
    try:
        check_cores()
        for name in _PROGRAMS:
            program(name)
    except BenchmarkError as error:
        _say(str(error))
        return 1
    os.sched_setaffinity(0, {OTHER_CORE})
    print(f"{describe()}; {scale.runs} runs of {scale.seconds} s each\n")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        # Name servers that are started as root become another user.
        Path(name).chmod(0o755)
        bench = Bench(Path(name), scale)
        try:
            for row in options.rows:
                try:
                    print(ROWS[row](bench), flush=True)
                except BenchmarkError as error:  # the other rows are worth having all the same
                    _say(str(error))
                    failed += 1
        finally:
            bench.stop()
    return 1 if failed else 0


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
