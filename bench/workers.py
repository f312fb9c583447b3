"""One edge beside two, and two ways to share a listening socket: ``python -m bench.workers``.

The real nursery and edges, under a keeper that only knows one site. Each edge gets a quarter of a
core (bench/shares.py), so that load and origin have the rest, and all edges are kept busy: what
they serve is what as many cores would, one each. Also shown: CPU time of the edges a request, and
how even their shares are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.machine import BenchmarkError, cpu_seconds, describe, program
from bench.peers import Origin, make_files
from bench.shares import confined
from tests.servers.ports import LOOPBACK, free_port
from tests.unit.registry.examples import example_site
from watchducks.background import ThreadPool
from watchducks.edges.binding import TcpEndpoint, bound_tcp, parse_tcp
from watchducks.edges.fleet import Fleet
from watchducks.edges.line import Handlers
from watchducks.edges.orphans import Pairs
from watchducks.model.changes import Apply, Changes
from watchducks.reactor import install

_ZONE: Final = "bench.example"
_CONNECTIONS: Final = 64
# Before and after the window that is measured: connections are made, the last answers come.
_MARGIN_SECONDS: Final = 0.5
# Of a core, for each edge. Two of them take half a core, load and origin for them another half.
_SHARE: Final = 0.25


class Way(NamedTuple):
    """:ivar shared: a socket for each edge (SO_REUSEPORT), instead of one for all."""

    name: str
    edges: int
    shared: bool


WAYS: Final = (
    Way("one edge", 1, shared=False),
    Way("two edges, one socket inherited by both", 2, shared=False),
    Way("two edges, a socket each (SO_REUSEPORT)", 2, shared=True),
)


class Result(NamedTuple):
    """:ivar cpu_us: of all edges, a request. :ivar shares: of the edges in that time."""

    cpu_us: float
    per_second: float
    shares: tuple[float, ...]


class _OneSite:
    """The keeper's feed and services: one site, and nobody asks."""

    lineage = "bench"

    def __init__(self, origin: str) -> None:
        self._site = example_site(_ZONE, origin=origin)

    async def follow(self, apply: Apply) -> None:
        apply(Changes(1, (self._site,), (), more=False))

    def unfollow(self, apply: Apply) -> None:
        """Nothing changes."""

    def handlers(self) -> Handlers:
        def no_site(*_: object) -> None:
            return None

        names = ("site_for_host", "saw_certificate", "saw_request", "sealed")
        return dict.fromkeys(names, no_site)

    def lost(self, losses: object) -> None:
        """Nobody counts them."""

    def missed(self, names: object) -> None:
        """Nobody looks them up."""


class Bench:
    """Runs of each way, in turn."""

    def __init__(self, directory: Path, origin: Origin, seconds: float, *, reactor: Any) -> None:
        self._directory = directory
        self._origin = origin
        self._seconds = seconds
        self._reactor = reactor
        self._site = _OneSite(f"http://{LOOPBACK}:{origin.port}")
        self._made = 0

    async def run(self, way: Way, pool: ThreadPool) -> Result:
        """:raises BenchmarkError: an answer was not what it should be."""
        self._made += 1
        text = f"tcp:{free_port('tcp')}:interface={LOOPBACK}"
        endpoint = parse_tcp(text)
        count = way.edges if way.shared else 1
        sockets = [bound_tcp(endpoint, shared=way.shared) for _ in range(count)]

        def pairs_of(number: int) -> Pairs:
            return [(text, sockets[number % count])]

        fleet = Fleet(
            way.edges,
            self._document(text),
            "",
            pairs_of,
            self._site,
            self._site,
            drain_seconds=1.0,
            reactor=self._reactor,
        )
        await fleet.start()
        try:
            with confined(fleet.pids, _SHARE):
                return await self._measure(fleet, endpoint, pool)
        finally:
            await fleet.stop()
            for one in sockets:
                one.close()

    def _document(self, text: str) -> dict[str, dict[str, Any]]:
        return {
            "node": {
                "name": "bench",
                "data_dir": str(self._directory / str(self._made)),
                "roles": ["proxy"],
            },
            "proxy": {"http": [text], "https": []},
            "security": {"allow_private_origins": True},
        }

    async def _measure(self, fleet: Fleet, endpoint: TcpEndpoint, pool: ThreadPool) -> Result:
        url = f"http://{LOOPBACK}:{endpoint.port}/small"
        whole = int(self._seconds + 2 * _MARGIN_SECONDS + 0.999)
        command = [
            *(program("wrk"), "--threads", "1", "--connections", str(_CONNECTIONS)),
            *("--duration", f"{whole}s", "--timeout", "10s", "--header", f"Host: {_ZONE}", url),
        ]
        load = Deferred.fromCoroutine(pool.run(_output, command, whole + 30.0))
        await deferLater(self._reactor, _MARGIN_SECONDS)
        before = [cpu_seconds(pid) for pid in fleet.pids]
        first = self._origin.requests()
        began = self._reactor.seconds()
        await deferLater(self._reactor, self._seconds)
        spent = [cpu_seconds(pid) - used for pid, used in zip(fleet.pids, before, strict=True)]
        requests = self._origin.requests() - first
        took = self._reactor.seconds() - began
        output = await load
        if "Non-2xx" in output or "Socket errors" in output or requests <= 0:
            raise BenchmarkError(f"the load failed:\n{output}")
        total = sum(spent)
        return Result(
            total / requests * 1e6, requests / took, tuple(round(one / total, 2) for one in spent)
        )


def _output(command: list[str], seconds: float) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout


def _table(results: dict[Way, list[Result]]) -> str:
    lines = ["| | CPU us a request | requests/s | share of the busier edge | speed-up |"]
    lines.append("|---|---|---|---|---|")
    one = median(result.per_second for result in results[WAYS[0]])
    for way, found in results.items():
        cpu = sorted(result.cpu_us for result in found)
        rate = sorted(result.per_second for result in found)
        busier = median(max(result.shares) for result in found)
        lines.append(
            f"| {way.name} | {median(cpu):.0f} ({cpu[0]:.0f}-{cpu[-1]:.0f})"
            f" | {median(rate):.0f} ({rate[0]:.0f}-{rate[-1]:.0f}) | {busier:.2f}"
            f" | {median(rate) / one:.2f} |"
        )
    return "\n".join(lines)


def _origin(directory: Path) -> Origin:
    directory.chmod(0o755)  # the workers of a server that root starts are another user
    web = directory / "web"
    web.mkdir()
    return Origin(directory / "origin", make_files(directory, web))


async def _run(reactor: Any, options: argparse.Namespace) -> None:
    pool = ThreadPool("load", 1, reactor=reactor)
    pool.start()
    with tempfile.TemporaryDirectory(prefix="watchducks-bench-") as name:
        directory = Path(name)
        origin = _origin(directory)
        origin.start()
        try:
            bench = Bench(directory, origin, options.seconds, reactor=reactor)
            results: dict[Way, list[Result]] = {way: [] for way in WAYS}
            for _ in range(options.runs):
                for way in WAYS:
                    results[way].append(await bench.run(way, pool))
                    sys.stderr.write(f"{way.name}: {results[way][-1]}\n")
            print(f"{describe()}; {options.runs} runs of {options.seconds:g} s each\n")
            print(_table(results))
        finally:
            origin.stop()
            pool.stop()


def main(arguments: list[str]) -> None:
    """Run the benchmark and end the process."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args(arguments)
    run: Callable[..., Coroutine[Deferred[Any], Any, None]] = _run
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)), ())


if __name__ == "__main__":
    install()
    main(sys.argv[1:])
