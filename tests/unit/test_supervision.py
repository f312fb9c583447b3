"""What systemd is told, as it would read it from its socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from watchducks.supervision import Supervisor


class Manager:
    """The service manager's side."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def heard(self) -> list[list[str]]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = f"@watchducks-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    made = Manager(name)
    yield made
    made.close()


def test_the_life_of_a_service(manager: Manager) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "4000000", "PATH": "/bin"}
    environ["WATCHDOG_PID"] = str(os.getpid())
    supervisor = Supervisor.of_environment(environ, clock=clock)
    assert environ == {"PATH": "/bin"}  # not for those whom we start

    supervisor.start()
    assert manager.heard() == [["WATCHDOG=1"]]
    supervisor.ready("ready as proxy,\nand no MAINPID=1")
    assert manager.heard() == [
        ["READY=1", f"MAINPID={os.getpid()}", "STATUS=ready as proxy, and no MAINPID=1"]
    ]
    clock.advance(1.9)
    assert manager.heard() == []
    clock.advance(0.1)
    clock.advance(2.0)
    assert manager.heard() == [["WATCHDOG=1"], ["WATCHDOG=1"]]
    supervisor.stopping("draining")
    assert manager.heard() == [["STOPPING=1", "STATUS=draining"]]
    clock.advance(2.0)
    assert manager.heard() == [["WATCHDOG=1"]]  # stopping may take longer than its patience
    supervisor.stop()
    assert clock.getDelayedCalls() == []
    supervisor.status("gone")
    assert manager.heard() == []


def test_reloading_tells_when_it_began(manager: Manager) -> None:
    supervisor = Supervisor(manager.address, clock=Clock(), monotonic_us=lambda: 1234)
    supervisor.reloading()
    supervisor.stop()
    assert manager.heard() == [
        ["RELOADING=1", "MONOTONIC_USEC=1234", "STATUS=reading the configuration again"]
    ]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "nonsense"},
        {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "1000"},
    ],
)
def test_without_a_watchdog_there_are_no_signs_of_life(environ: dict[str, str]) -> None:
    clock = Clock()
    supervisor = Supervisor.of_environment(environ, clock=clock)
    supervisor.start()
    assert clock.getDelayedCalls() == []
    supervisor.stop()


def test_a_manager_that_is_gone_or_does_not_read_harms_nobody(tmp_path: Path) -> None:
    supervisor = Supervisor(str(tmp_path / "nobody"), clock=Clock())
    supervisor.ready("all well")
    supervisor.stop()
    deaf = Manager(str(tmp_path / "deaf"))
    try:
        supervisor = Supervisor(deaf.address, clock=Clock())
        for _ in range(10_000):  # far more than a socket's buffer takes
            supervisor.status("still well")
        supervisor.stop()
    finally:
        deaf.close()
