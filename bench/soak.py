"""Half an hour of everything: ``python -m bench.soak [--minutes N] [--workers N]``.

The appliance with its embedded stores, at half of what it can carry: half of the time wrk or h2load
gives it all it takes (HTTP, HTTPS and HTTP/2 in turn), and without a pause there are visitors in
the ways of :mod:`bench.steady`, sites whose origins refuse, say nothing or break off, hosts that
nobody registered, and sites that come and go.

What must not grow is looked at every 15 s (:mod:`bench.looks`). After the first five minutes (a
sixth of a shorter run) memory may drift by 2 %, and what is counted by 10 %, by the medians of the
first and the last quarter of what remains. When all visitors have gone, there must be no more
descriptors, threads, timers and Deferreds than before they came.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from bench.looks import Look, ends, environment, look  # noqa: E402 - found by the path above
from bench.machine import cpu_seconds, describe, program  # noqa: E402
from bench.trouble import ORIGIN, Origins, Trouble  # noqa: E402
from tests.servers.ports import LOOPBACK, free_port  # noqa: E402
from tests.servers.waiting import wait_until  # noqa: E402
from tests.system.appliance import Twistd, api  # noqa: E402
from watchducks.demo.authority import Authority  # noqa: E402

HOST: Final = "www.ducks.example"
DRIFT: Final = 0.02
# Counts go up and down with the visitors of the moment.
COUNTS_DRIFT: Final = 0.1
WARM_MINUTES: Final = 5.0
_COUNTS: Final = ("descriptors", "threads", "timers", "deferreds")
_LOOK_SECONDS: Final = 15.0
_BURST_SECONDS: Final = 2
# For a generator to end by itself after its time is up.
_BURST_PATIENCE_SECONDS: Final = 60
_CONNECTIONS: Final = 32
# Of visitors who have gone: connections to origins are kept for a minute, and what waits for a
# silent one may wait for 100 s.
_QUIET_SECONDS: Final = 150.0
# Beside what there was before: connections to origins that are kept for good, single timers.
_QUIET_SLACK: Final = 30
_CERTIFICATE_SECONDS: Final = 30.0
_NOISE_LINES: Final = 60
_NOISE: Final = re.compile(r"Traceback|Unhandled|#critical|never awaited|failed")


@contextmanager
def _steady(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    running = subprocess.Popen(
        [sys.executable, "-m", "bench.steady", *arguments],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield running
    finally:
        running.kill()
        running.wait()


class Bursts:
    """All it takes for some seconds, in one way after the other.

    :ivar rates: way -> requests a second of each burst. :ivar hung: generators that did not end.
    """

    def __init__(self, ports: dict[str, int]) -> None:
        wrk = [program("wrk"), "--threads", "1", "--connections", str(_CONNECTIONS)]
        wrk += ["--duration", f"{_BURST_SECONDS}s", "--header", f"Host: {HOST}"]
        tls = [program("h2load"), "--threads", "1", "--clients", str(_CONNECTIONS)]
        tls += ["--duration", str(_BURST_SECONDS), f"--connect-to={LOOPBACK}:{ports['https']}"]
        https = f"https://{HOST}:{ports['https']}/page"
        self._ways = {
            "http": [*wrk, f"http://{LOOPBACK}:{ports['http']}/page"],
            "https": [*tls, "--h1", https],
            "http2": [*tls, "--max-concurrent-streams", "8", https],
        }
        self.hung = 0
        self._turn = itertools.cycle(self._ways)
        self.rates: dict[str, list[float]] = {way: [] for way in self._ways}

    def run(self) -> None:
        way = next(self._turn)
        try:
            found = subprocess.run(
                self._ways[way],
                capture_output=True,
                text=True,
                timeout=_BURST_SECONDS + _BURST_PATIENCE_SECONDS,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired:
            self.hung += 1  # visitors who are not answered are counted by themselves
            return
        rate = re.search(r"Requests/sec:\s+([0-9.]+)|, ([0-9.]+) req/s", found)
        if rate:
            self.rates[way].append(float(rate[1] or rate[2]))


def _said(steady: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Let the visitors end, and return what they found."""
    stdin: IO[bytes] | None = steady.stdin
    stdout: IO[bytes] | None = steady.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.close()
    found: dict[str, Any] = json.loads(stdout.read().splitlines()[-1])
    return found


@dataclass
class Findings:
    """:ivar before, after: looks without visitors. :ivar share: CPUs that were used."""

    before: Look
    after: Look
    looks: list[Look] = field(default_factory=list)
    share: float = 0.0
    visitors: dict[str, Any] = field(default_factory=dict)


class Watched(Twistd):
    """The appliance, whose processes tell what they have inside. :ivar inside: where."""

    def __init__(self, directory: Path, settings: dict[str, dict[str, Any]]) -> None:
        super().__init__(directory, settings)
        self.inside = directory / "inside"

    def command(self) -> list[str]:
        told = environment(self.inside)
        return ["env", *(f"{key}={value}" for key, value in told.items()), *super().command()]

    def look(self, minute: float) -> Look:
        return look(self.pid, self.inside, minute)

    def look_at_rest(self) -> Look:
        return look(self.pid, self.inside, collect=True)


def _soak(directory: Path, minutes: float, workers: int) -> int:
    appliance = Watched(
        directory / "a", {"node": {"workers": workers}, "nameserver": {"rrl_per_second": 0}}
    )
    appliance.start()
    origins = Origins()
    port = free_port("tcp")
    failing = {
        "www.refuses.example": 9,
        "www.silent.example": origins.silent,
        "www.breaks.example": origins.breaking,
    }
    trouble = Trouble(appliance, list(failing))
    bursts = Bursts(appliance.ports)
    ports = [str(appliance.ports[kind]) for kind in ("http", "https", "dns")]
    try:
        for domain, at in {HOST: port, **failing}.items():
            body = {"name": domain, "domain": domain, "origin": f"http://{ORIGIN}:{at}"}
            url = f"{appliance.console}/api/v1/sites"
            status, answer = api("POST", url, {**body, "email": "a@ducks.example"})
            assert status == 201, answer
        _certify(appliance, directory)
        before = appliance.look_at_rest()
        found = Findings(before, after=before)
        with _steady(ORIGIN, "--origin", str(port)):
            patience = str(minutes * 60 + 600)
            with _steady(*(LOOPBACK, HOST, "--ports", *ports, "--seconds", patience)) as visitors:
                trouble.start()
                _watch(appliance, minutes, bursts, found)
                found.visitors = _said(visitors)
            trouble.stop()
            found.after = _quiet(appliance, before)
    finally:
        trouble.stop()
        origins.close()
        appliance.stop()
    noise = _noise(appliance.log.read_text().splitlines())
    _report(minutes, bursts, found, trouble, noise)
    return 1 if noise or found.visitors["failed"] or not _judge(minutes, found) else 0


def _noise(lines: list[str]) -> list[str]:
    """Return the lines of trouble in a log, the traceback of each included."""
    found: list[str] = []
    inside = False
    for line in lines:
        inside = bool(_NOISE.search(line)) or (inside and line.startswith("\t"))
        if inside:
            found.append(line)
    return found


def _certify(appliance: Twistd, directory: Path) -> None:
    """Give the site a certificate, and wait until it is shown."""
    folder = appliance.data_dir / "certificates" / "ducks"
    folder.mkdir(parents=True)
    chain, key = Authority(directory / "authority").issue([HOST])
    (folder / "privkey.pem").write_bytes(key)
    (folder / "fullchain.pem").write_bytes(chain)
    trusting = ssl.create_default_context(cafile=directory / "authority" / "ca.pem")

    def shown() -> bool:
        with suppress(OSError):
            address = (LOOPBACK, appliance.ports["https"])
            with (
                socket.create_connection(address, 2) as plain,
                trusting.wrap_socket(plain, server_hostname=HOST),
            ):
                return True
        return False

    wait_until(shown, "the certificate", _CERTIFICATE_SECONDS)


def _watch(appliance: Watched, minutes: float, bursts: Bursts, found: Findings) -> None:
    """Drive the bursts, and look."""
    began = time.monotonic()
    used = cpu_seconds(appliance.pid)
    next_look = began + _LOOK_SECONDS
    while (now := time.monotonic()) < began + minutes * 60:
        bursts.run()
        if now >= next_look:
            found.looks.append(appliance.look((now - began) / 60))
            next_look = now + _LOOK_SECONDS
        time.sleep(_BURST_SECONDS)  # noqa: TID251 -- the other half of the time
    found.share = (cpu_seconds(appliance.pid) - used) / (time.monotonic() - began)


def _quiet(appliance: Watched, before: Look) -> Look:
    """Return the first look at which nothing is left of the visitors, or else the last."""
    until = time.monotonic() + _QUIET_SECONDS
    while True:
        now = appliance.look_at_rest()
        if not _left(before, now) or time.monotonic() > until:
            return now
        time.sleep(_LOOK_SECONDS)  # noqa: TID251 -- each look costs the processes something


def _left(before: Look, after: Look) -> list[str]:
    """Return of what there is more than before."""
    return [name for name in _COUNTS if getattr(after, name) > getattr(before, name) + _QUIET_SLACK]


def _warm(minutes: float, found: Findings) -> list[Look]:
    return [one for one in found.looks if one.minute >= min(WARM_MINUTES, minutes / 6)]


def _drift(looks: list[Look], name: str) -> float:
    first, last = ends([getattr(one, name) for one in looks])
    return (last - first) / first if first else 0.0


def _judge(minutes: float, found: Findings) -> bool:
    looks = _warm(minutes, found)
    level = all(_drift(looks, name) <= COUNTS_DRIFT for name in _COUNTS)
    return level and _drift(looks, "mib") <= DRIFT and not _left(found.before, found.after)


def _report(
    minutes: float, bursts: Bursts, found: Findings, trouble: Trouble, noise: list[str]
) -> None:
    print(describe())
    rates = {way: round(statistics.median(rate)) for way, rate in bursts.rates.items() if rate}
    print(
        f"{minutes:g} minutes, requests/s in bursts (half of the time): {rates}; {bursts.hung} hung"
    )
    done = found.visitors["done"]
    print(f"{found.share:.2f} CPUs used; visitors: {sum(done.values())} {done}")
    print(
        f"failed: {found.visitors['failed']} {found.visitors['errors'][:3]};"
        f" again: {found.visitors['again']}"
    )
    print(
        f"{trouble.registered} sites came and went (refused: {dict(trouble.refused)}),"
        f" {trouble.failed_visits} visits in vain"
    )
    looks = _warm(minutes, found)
    for name in ("mib", "heap_mib", *_COUNTS, "objects", "blocks"):
        values = [getattr(one, name) for one in looks]
        first, last = ends(values)
        print(
            f"{name:12} {first:10.1f} -> {last:10.1f}  {_drift(looks, name):+.1%}"
            f"  (from {min(values):.1f} to {max(values):.1f});"
            f" before {getattr(found.before, name):.1f}, after {getattr(found.after, name):.1f}"
        )
    for process in looks[-1].processes:
        first, last = ends([one.processes[process] for one in looks])
        print(f"  {process:12} {first:8.1f} -> {last:8.1f} MiB")
    print("more than before, when all had gone:")
    for type_, more in (found.after.types - found.before.types).most_common(12):
        print(f"  {more:+8} {type_}")
    print(f"{len(noise)} lines of trouble in the log", *noise[:_NOISE_LINES], sep="\n  ")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=2, help="node.workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        sys.exit(_soak(Path(name), options.minutes, options.workers))


if __name__ == "__main__":
    main()
