"""What is left of a unit: killed when it was stopped, and only then."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from watchducks.edges.leftovers import kill_leftovers

OURS, OTHERS = b"0::/system.slice/watchducks@blue.service\n", b"0::/system.slice/ssh.service\n"


@pytest.fixture
def processes(tmp_path: Path) -> Path:
    groups = {"self": OURS, str(os.getpid()): OURS, "10": OURS, "11": OTHERS, "12": OURS}
    for name, group in groups.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup").write_bytes(group)
    (tmp_path / "13").mkdir()  # it has ended
    return tmp_path


@pytest.mark.parametrize("result", ["success", "timeout"])
def test_what_is_left_of_a_unit_that_was_stopped_is_killed(result: str, processes: Path) -> None:
    killed = []

    def kill(pid: int, sent: int) -> None:
        killed.append((pid, sent))
        raise ProcessLookupError

    assert sorted(kill_leftovers(result, processes, kill)) == [10, 12]
    assert sorted(killed) == [(10, signal.SIGKILL), (12, signal.SIGKILL)]


@pytest.mark.parametrize("result", ["signal", "exit-code", "core-dump", "watchdog", ""])
def test_what_a_dead_keeper_left_goes_on(result: str, processes: Path) -> None:
    def kill(pid: int, sent: int) -> None:
        raise AssertionError(f"{pid} was killed")

    assert kill_leftovers(result, processes, kill) == []
