"""Half an hour of everything: ``python -m bench.soak [--minutes N] [--workers N]``.

The appliance with its embedded stores, at half of what it can carry: half of the time wrk gives
it all it takes, and without a pause there are visitors in the ways of :mod:`bench.steady`, sites
whose origins refuse, say nothing or break off, hosts that nobody registered, and sites that come
and go.

What must not grow is looked at every ten seconds: memory, descriptors, threads, timers. After the
first five minutes (a sixth of a shorter run) memory may drift by 2 %, by the medians of the first
and the last quarter of what remains.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

_ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "src")]

from bench.machine import cpu_seconds, describe, program  # noqa: E402 - found by the path above
from tests.servers.ports import LOOPBACK, free_port  # noqa: E402
from tests.system.appliance import Twistd, api  # noqa: E402
from watchducks.cli import local  # noqa: E402
from watchducks.instances import control_file  # noqa: E402

ORIGIN: Final = "127.0.0.2"
DRIFT: Final = 0.02
WARM_MINUTES: Final = 5.0
_LOOK_SECONDS: Final = 10.0
_BURST_SECONDS: Final = 2
_CONNECTIONS: Final = 32
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_NOISE: Final = re.compile(r"Traceback|Unhandled|#critical|never awaited|failed")


@dataclass(frozen=True, slots=True)
class Look:
    """What one process of ours has at one moment; MiB and counts."""

    minute: float
    mib: float
    descriptors: int
    threads: int
    timers: int


def _family(pid: int) -> list[int]:
    """Return a process and all below it, but chDB, whose memory is ClickHouse's own affair."""
    if _is_chdb(pid):
        return []
    found = [pid]
    with suppress(OSError):  # one that ends meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += _family(int(child))
    return found


def _is_chdb(pid: int) -> bool:
    with suppress(OSError):
        return b"chdb_server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _look(appliance: Twistd, began: float) -> Look:
    """Look at the appliance and its workers, all together."""
    pages = descriptors = threads = 0
    for pid in _family(appliance.pid):
        with suppress(OSError):  # a worker that ended meanwhile
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            descriptors += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            threads += sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
    told = local.ask(control_file(appliance.data_dir, ""))
    return Look(
        minute=(time.monotonic() - began) / 60,
        mib=pages * _PAGE / 2**20,
        descriptors=descriptors,
        threads=threads,
        timers=told["process"]["timers"],
    )


class Trouble:
    """What goes on beside the traffic, in a thread: origins that fail, sites that come and go."""

    def __init__(self, appliance: Twistd, failing: list[str]) -> None:
        self._appliance = appliance
        self._failing = failing
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.registered = 0
        self.failed_visits = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._ended.wait(0.2):
            number = self.registered
            site = {
                "name": f"soak-{number}",
                "domain": f"www.soak-{number}.example",
                "origin": f"http://{ORIGIN}:9",
                "email": "a@ducks.example",
                "cohort": "soak",
            }
            url = f"{self._appliance.console}/api/v1/sites"
            with suppress(OSError, ValueError):
                status, body = api("POST", url, site)
                if status == 201:
                    self.registered += 1
                    self._visit(site["domain"])
                    api("DELETE", f"{url}/{site['name']}", token=body["token"])
            for host in (*self._failing, f"nobody-{number}.example"):
                self._visit(host)

    def _visit(self, host: str) -> None:
        address = (LOOPBACK, self._appliance.ports["http"])
        with suppress(OSError), socket.create_connection(address, 2) as visitor:
            visitor.settimeout(1)
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            # Whoever gives up early is a part of it.
            visitor.recv(65536)
            self.failed_visits += 1


class _Origins:
    """Origins that accept and say nothing, or break off in the middle of an answer."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server((ORIGIN, 0), backlog=256) for _ in range(2)]
        self.silent, self.breaking = (made.getsockname()[1] for made in self._sockets)
        self._held: list[socket.socket] = []
        for made, serve in zip(self._sockets, (self._say_nothing, self._break), strict=True):
            threading.Thread(target=self._accept, args=(made, serve), daemon=True).start()

    def _accept(self, made: socket.socket, serve: Any) -> None:
        with suppress(OSError):
            while True:
                serve(made.accept()[0])

    def _say_nothing(self, connection: socket.socket) -> None:
        self._held.append(connection)
        while len(self._held) > 100:
            self._held.pop(0).close()

    def _break(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(1)
            with suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nquack")

    def close(self) -> None:
        for made in self._sockets:
            made.close()


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


def _burst(appliance: Twistd, host: str) -> float:
    """Give it all it takes for some seconds; return the requests a second."""
    url = f"http://{LOOPBACK}:{appliance.ports['http']}/page"
    found = subprocess.run(
        [
            *(program("wrk"), "--threads", "1", "--connections", str(_CONNECTIONS)),
            *("--duration", str(_BURST_SECONDS), "--header", f"Host: {host}", url),
        ],
        capture_output=True,
        text=True,
        timeout=_BURST_SECONDS + 30,
        check=False,
    ).stdout
    match = re.search(r"Requests/sec:\s+([0-9.]+)", found)
    return float(match[1]) if match else 0.0


def _said(steady: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Let the visitors end, and return what they found."""
    stdin: IO[bytes] | None = steady.stdin
    stdout: IO[bytes] | None = steady.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.close()
    found: dict[str, Any] = json.loads(stdout.read().splitlines()[-1])
    return found


def _soak(directory: Path, minutes: float, workers: int) -> int:
    appliance = Twistd(
        directory / "a", {"node": {"workers": workers}, "nameserver": {"rrl_per_second": 0}}
    )
    appliance.start()
    origins = _Origins()
    port = free_port("tcp")
    sites = {
        "www.ducks.example": f"http://{ORIGIN}:{port}",
        "www.refuses.example": f"http://{ORIGIN}:9",
        "www.silent.example": f"http://{ORIGIN}:{origins.silent}",
        "www.breaks.example": f"http://{ORIGIN}:{origins.breaking}",
    }
    for domain, origin in sites.items():
        body = {"name": domain, "domain": domain, "origin": origin, "email": "a@ducks.example"}
        status, answer = api("POST", f"{appliance.console}/api/v1/sites", body)
        assert status == 201, answer
    trouble = Trouble(appliance, list(sites)[1:])
    ports = [str(appliance.ports[kind]) for kind in ("http", "https", "dns")]
    # Without a certificate there is no TLS: only what needs none.
    kinds = ("fresh", "kept", "websocket", "download", "dns-udp", "dns-tcp")
    try:
        with (
            _steady(ORIGIN, "--origin", str(port)),
            _steady(LOOPBACK, "www.ducks.example", "--ports", *ports, "--only", *kinds) as visitors,
        ):
            trouble.start()
            looks, rate, share = _watch(appliance, minutes)
            found = _said(visitors)
    finally:
        trouble.stop()
        origins.close()
        appliance.stop()
    return _judge(appliance, looks, minutes, rate, share, found, trouble)


def _watch(appliance: Twistd, minutes: float) -> tuple[list[Look], float, float]:
    """Drive the bursts and look; return the looks, requests a second in bursts, CPUs used."""
    began = time.monotonic()
    used = cpu_seconds(appliance.pid)
    looks, rates, next_look = [], [], began + _LOOK_SECONDS
    while (now := time.monotonic()) < began + minutes * 60:
        rates.append(_burst(appliance, "www.ducks.example"))
        if now >= next_look:
            looks.append(_look(appliance, began))
            next_look += _LOOK_SECONDS
        time.sleep(_BURST_SECONDS)  # noqa: TID251 -- the other half of the time
    share = (cpu_seconds(appliance.pid) - used) / (time.monotonic() - began)
    return looks, statistics.median(rates), share


def _judge(
    appliance: Twistd,
    looks: list[Look],
    minutes: float,
    rate: float,
    share: float,
    found: dict[str, Any],
    trouble: Trouble,
) -> int:
    warm = min(WARM_MINUTES, minutes / 6)
    later = [look for look in looks if look.minute >= warm]
    quarter = max(1, len(later) // 4)
    print(describe())
    print(f"{minutes:g} minutes, {rate:.0f} requests/s in bursts (half of the time)")
    print(f"{share:.2f} CPUs used; visitors: {sum(found['done'].values())} {found['done']}")
    print(f"failed: {found['failed']} {found['errors'][:3]}; again: {found['again']}")
    print(f"{trouble.registered} sites came and went, {trouble.failed_visits} visits in vain")
    bad = bool(found["failed"])
    for name in ("mib", "descriptors", "threads", "timers"):
        values = [getattr(look, name) for look in later]
        first, last = (statistics.median(part) for part in (values[:quarter], values[-quarter:]))
        drift = (last - first) / first if first else 0.0
        print(
            f"{name:12} {first:8.1f} -> {last:8.1f}  {drift:+.1%}"
            f"  (from {min(values):.1f} to {max(values):.1f})"
        )
        if name == "mib":
            bad = bad or drift > DRIFT
    noise = [line for line in appliance.log.read_text().splitlines() if _NOISE.search(line)]
    print(f"{len(noise)} lines of trouble in the log", *noise[:5], sep="\n  ")
    return 1 if bad or noise else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--workers", type=int, default=0, help="node.workers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        sys.exit(_soak(Path(name), options.minutes, options.workers))


if __name__ == "__main__":
    main()
