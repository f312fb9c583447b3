"""Everything that can end at any moment does, under load, and visitors count what they got."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from tests.servers.clickhouse import ClickHouse
from tests.servers.waiting import wait_until
from tests.system.appliance import Twistd, api, run
from tests.system.origin import Origin

HOST: Final = "www.ducks.example"
VISITORS: Final = 3
# Between two requests of a visitor: some 300 a second together.
PAUSE_SECONDS: Final = 0.01
# How long a thing is away, and how long there is peace before the next.
AWAY_SECONDS: Final = 1.5
# The spool's own disk: small enough to be filled in a moment.
DISK_BYTES: Final = 64 * 1024 * 1024


class Visitor(threading.Thread):
    """Asks for one page after the other, each once, and connects again when he is cut off.

    :ivar answered: the paths whose answers arrived completely.
    """

    def __init__(self, proxy: tuple[str, int], name: str) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._numbers = (f"/{name}-{number}" for number in itertools.count(1))
        self._over = threading.Event()
        self.answered: list[str] = []

    def leave(self) -> None:
        self._over.set()
        self.join(30)
        assert not self.is_alive()

    def run(self) -> None:
        while not self._over.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(self._proxy, 5) as connection,
            ):
                self._ask(connection)
            self._over.wait(PAUSE_SECONDS)

    def _ask(self, connection: socket.socket) -> None:
        answers = connection.makefile("rb")
        while not self._over.wait(PAUSE_SECONDS):
            path = next(self._numbers)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            if not _took_whole(answers):
                return
            self.answered.append(path)


def _took_whole(answers: Any) -> bool:
    """Read one answer; return whether all of it came."""
    length = None
    while (line := answers.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return length is not None and len(answers.read(length)) == length


@contextlib.contextmanager
def disk_of_its_own(spool: Path) -> Iterator[bool]:
    """Give the spool a small disk; False: this user may not mount one."""
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    mounted = os.geteuid() == 0 and (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(spool)],
            check=False,
            capture_output=True,
            timeout=10,
        ).returncode
        == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(spool)], check=False, timeout=10)


class LogStore(Protocol):
    """The log store of an appliance, to be killed."""

    def kill(self) -> None:
        """End it as a crash does."""

    def start(self) -> None:
        """Bring it back, and return once it is."""

    def count(self) -> dict[str, int]:
        """Return how often each path is there, once the appliance has stopped."""


class Server:
    """ClickHouse."""

    def __init__(self, clickhouse: ClickHouse, url: str) -> None:
        self._clickhouse = clickhouse
        self._database = url.rpartition("/")[2]

    def kill(self) -> None:
        self._clickhouse.kill()

    def start(self) -> None:
        self._clickhouse.start()

    def count(self) -> dict[str, int]:
        table = f"{self._database}.requests"
        return dict(self._clickhouse.execute(f"SELECT path, count() FROM {table} GROUP BY path"))


class Embedded:
    """chDB, in a child process of the appliance, which starts it again by itself."""

    _COUNT: Final = (
        "import chdb, sys; print(chdb.connect(sys.argv[1]).query("
        "'SELECT path, count() FROM watchducks.requests GROUP BY path', 'JSONCompactEachRow'))"
    )

    def __init__(self, appliance: Twistd, directory: Path) -> None:
        self._appliance = appliance
        self._directory = directory

    def _child(self) -> int | None:
        main = self._appliance.pid
        for pid in map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split()):
            with contextlib.suppress(OSError):  # it has just ended
                if b"chdb_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return None

    def kill(self) -> None:
        # One that was killed with the appliance before may not be back yet.
        self.start()
        child = self._child()
        assert child is not None
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: self._child() != child, "chDB's process to end", 10)

    def start(self) -> None:
        wait_until(lambda: self._child() is not None, "chDB's process", 30)

    def count(self) -> dict[str, int]:
        found = run(sys.executable, "-c", self._COUNT, self._directory)
        assert found.returncode == 0, found.stderr
        rows = [json.loads(line) for line in found.stdout.splitlines() if line]
        return {path: int(count) for path, count in rows}


class Chaos:
    """One appliance with one site, and what happens to it.

    :ivar happened: what did, in its order.
    """

    def __init__(self, appliance: Twistd, store: LogStore, *, disk: bool) -> None:
        self._appliance = appliance
        self._store = store
        self._wait = threading.Event()
        self._events = [self._kill_the_appliance, self._kill_the_store]
        if disk:
            self._events.append(self._fill_the_disk)
        self.happened: list[str] = []

    def run(self, origin: Origin, rounds: int, seed: int) -> list[str]:
        """Let everything happen ``rounds`` times; return the paths that were answered."""
        chance = random.Random(seed)
        self._appliance.start()
        fields = {"name": "ducks", "domain": HOST, "origin": origin.url, "cohort": "test"}
        fields["email"] = "owner@ducks.example"
        assert api("POST", f"{self._appliance.console}/api/v1/sites", fields)[0] == 201
        visitors = [Visitor(self._appliance.proxy, f"v{number}") for number in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        try:
            for _ in range(rounds):
                for event in chance.sample(self._events, len(self._events)):
                    self._wait.wait(chance.uniform(0.2, AWAY_SECONDS))
                    event()
                    self.happened.append(event.__name__.strip("_"))
            self._wait.wait(AWAY_SECONDS)
        finally:
            for visitor in visitors:
                visitor.leave()
        return [path for visitor in visitors for path in visitor.answered]

    def _kill_the_appliance(self) -> None:
        self._appliance.kill()
        self._appliance.start()

    def _kill_the_store(self) -> None:
        self._store.kill()
        self._wait.wait(AWAY_SECONDS)
        self._store.start()

    def _fill_the_disk(self) -> None:
        filler = self._appliance.data_dir / "spool" / "filler"
        try:
            # Without a buffer, or what did not fit would be written once more at the end.
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(1024 * 1024))
            self._wait.wait(AWAY_SECONDS)
        finally:
            filler.unlink()
        # Rows that were kept in memory meanwhile are written within a second; a crash before
        # that would cost them, as it must.
        self._wait.wait(AWAY_SECONDS)


def compare(answered: list[str], rows: Counter[str]) -> dict[str, list[str]]:
    """Return what is wrong: answers without a row, and rows that are there more than once."""
    return {
        "lost": [path for path in answered if path not in rows],
        "doubled": [path for path, count in rows.items() if count > 1],
    }


def rows_of(appliance: Twistd, store: LogStore, seconds: float) -> Counter[str]:
    """Wait until all is shipped, stop, and return how often each path is in the store."""
    spool = appliance.data_dir / "spool"
    wait_until(lambda: not list(spool.glob("*.*")), "the spool to be empty", seconds)
    appliance.stop()
    return Counter(store.count())
