"""The servers of a run: ours, and all of them started and stopped together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.machine import (
    MEASURED_CORE,
    OTHER_CORE,
    BenchmarkError,
    Usage,
    cpu_seconds,
    first_thread_cpu_seconds,
    on_core,
    program,
)
from bench.peers import SMALL_BYTES, Caddy, Files, HAProxy, Nginx, Origin, Proxy, make_files
from bench.registry import fill
from tests.servers.clickhouse import ClickHouse
from tests.servers.ports import LOOPBACK
from tests.servers.process import ServerProcess
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd
from watchducks.demo.authority import write_private

# The rows of one run are in the log store within flush_seconds, and the store needs its time.
_SHIPPED_SECONDS: Final = 60.0


class WatchDucks(Twistd, Proxy):
    """The real `twistd watchducks` with the role proxy and its rows going into ClickHouse.

    What it has used is all of its process: the reactor, and the threads that read the registry and
    that decode, enrich and ship the rows. ClickHouse's own work is not in it.
    """

    name = "WatchDucks"

    def __init__(
        self, directory: Path, files: Files, origin: Origin, logs: ClickHouse, *, sites: int = 1
    ) -> None:
        settings: dict[str, dict[str, Any]] = {
            "node": {"roles": ["proxy"]},
            "registry": {"url": f"sqlite:///{directory}/registry.sqlite"},
            "logs": {"url": logs.fresh_database()},
        }
        super().__init__(directory, settings)
        fill(directory / "registry.sqlite", f"http://{LOOPBACK}:{origin.port}", sites)
        folder = self.data_dir / "certificates" / "bench"
        write_private(folder / "fullchain.pem", files.chain.read_bytes())
        write_private(folder / "privkey.pem", files.key.read_bytes())

    def command(self) -> list[str]:
        return on_core(MEASURED_CORE, super().command())

    def usage(self) -> Usage:
        serving = first_thread_cpu_seconds(self.pid)
        return Usage(serving, cpu_seconds(self.pid) - serving)

    def finish(self) -> None:
        spool = self.data_dir / "spool"
        wait_until(
            # The open segment of an idle spool has its head, of some bytes, at most.
            lambda: all(_size(file) < SMALL_BYTES // 10 for file in spool.iterdir()),
            f"{self.name}'s rows to be shipped",
            _SHIPPED_SECONDS,
        )


PEERS: Final[dict[str, type[Nginx | HAProxy | Caddy]]] = {
    peer.name: peer for peer in (Nginx, HAProxy, Caddy)
}
KINDS: Final = (*PEERS, WatchDucks.name)


W = TypeVar("W", bound=WatchDucks)


class Servers:
    """All servers of a run; made by :meth:`start`, ended by :meth:`stop`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: list[ServerProcess] = []
        self._memory: Path | None = None
        self._made = 0

    def start(self) -> None:
        """Start the origin and the log store.

        :raises BenchmarkError: one of them does not start.
        """
        shared = Path("/dev/shm")  # noqa: S108 -- the one place that is surely memory
        memory = shared if os.access(shared, os.W_OK) else self._directory
        self._memory = memory / f"watchducks-bench-{os.getpid()}"
        self._memory.mkdir()
        self.files = make_files(self._directory, self._memory)
        self.origin = Origin(self._directory / "origin", self.files)
        self._run(self.origin)
        program("clickhouse-server")  # says how to install it
        logs = self._directory / "clickhouse"
        logs.mkdir()
        self._logs = _PinnedClickHouse(logs)
        self._run(self._logs)

    def proxy(self, kind: str) -> Proxy:
        """Start and return a fresh proxy by its name.

        :raises BenchmarkError: it does not start.
        """
        if kind == WatchDucks.name:
            return self.ours(sites=1)
        made = PEERS[kind](self._fresh(kind), self.files, self.origin)
        self._run(made)
        return made

    def ours(self, *, sites: int) -> WatchDucks:
        """Start and return an appliance with that many sites.

        :raises BenchmarkError: it does not start.
        """
        directory = self._fresh(WatchDucks.name)
        made = WatchDucks(directory, self.files, self.origin, self._logs, sites=sites)
        self._run(made)
        return made

    def of_kind(self, kind: type[W]) -> W:
        """Start and return an appliance of a kind of its own.

        :raises BenchmarkError: it does not start.
        """
        made = kind(self._fresh(kind.name), self.files, self.origin, self._logs)
        self._run(made)
        return made

    def _fresh(self, name: str) -> Path:
        self._made += 1
        return self._directory / f"{name}-{self._made}"

    def stop_one(self, proxy: Proxy) -> None:
        """Stop a proxy that is not needed any more."""
        self._running.remove(proxy)
        proxy.stop()

    def stop(self) -> None:
        """Stop everything, the last started first, and remove the files in memory."""
        while self._running:
            self._running.pop().stop()
        if self._memory is not None:
            for file in self._memory.iterdir():
                file.unlink()
            self._memory.rmdir()

    def _run(self, server: ServerProcess) -> None:
        try:
            server.start()
        except AssertionError as error:
            raise BenchmarkError(str(error)) from None
        self._running.append(server)


class _PinnedClickHouse(ClickHouse):
    """The log store, away from the measured core."""

    def command(self) -> list[str]:
        return on_core(OTHER_CORE, super().command())


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # shipped since it was listed
        return 0
