"""A private server: a process of ours that tests start, stop, kill and freeze by its process id."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers.waiting import wait_until

# Each starts within two seconds on an idle machine; the rest is for two busy cores.
START_SECONDS = 30.0
# MariaDB and ClickHouse write what they hold before they go.
STOP_SECONDS = 20.0

# Enough of a server's log to see why it did not start.
LOG_TAIL_BYTES = 4000


def missing(what: str) -> NoReturn:
    """End the test because a program is not installed: skipped, or failed where CI is set."""
    reason = f"{what} is not installed (make servers)"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_program(*names: str) -> str:
    """Return the path of the first of ``names`` that is installed; else see :func:`missing`."""
    # Debian keeps servers in sbin, which is not on an ordinary user's path.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    missing(names[0])


class ServerProcess(ABC):
    """One server process with a directory of its own; starts and stops as often as one likes.

    The object belongs to the session; its data survives :meth:`stop` and :meth:`kill`.
    """

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server answers a query now; never raises for one that does not."""

    def descriptors(self) -> tuple[int, ...]:
        """Return the descriptors of ours that the server inherits."""
        return ()

    @property
    def pid(self) -> int:
        """The process id; raises AssertionError while it is stopped."""
        assert self._process is not None, f"{self.name} is stopped"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it answers."""
        assert not self.running, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                # The kernel kills the server if the test run dies without cleaning up.
                ["setpriv", "--pdeathsig", "KILL", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                pass_fds=self.descriptors(),
                # Ctrl-C on the terminal is for pytest, which then stops the servers in order.
                start_new_session=True,
            )
        try:
            wait_until(self._answers_or_died, f"{self.name} to answer", START_SECONDS)
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}\n{self.log_tail()}") from None

    def _answers_or_died(self) -> bool:
        assert self.running, f"{self.name} died at start"
        return self.answers()

    def stop(self) -> None:
        """Ask the server to end (SIGTERM) and wait for it; kill it if it does not."""
        self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, signal_: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        self._process = None
        self._paused = False

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused server go on; nothing happens if it is not paused."""
        if self._paused:
            os.kill(self.pid, signal.SIGCONT)
            self._paused = False

    def recover(self) -> None:
        """Make the server run again, whatever a test has done to it."""
        self.resume()
        if not self.running:
            self._process = None
            self.start()

    def log_tail(self) -> str:
        """Return the end of the server's log."""
        if not self.log.exists():
            return "(no log)"
        tail = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"--- end of {self.log} ---\n{tail}"
