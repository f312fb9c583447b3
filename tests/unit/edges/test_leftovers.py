"""What is left of a unit: ended when it was stopped, and only then."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from watchducks.edges.leftovers import LAST_SECONDS, end_leftovers

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
def test_what_is_left_of_a_unit_that_was_stopped_may_end_by_itself(
    result: str, processes: Path
) -> None:
    sent = []

    def kill(pid: int, what: int) -> None:
        sent.append((pid, what))

    def pause(_: float) -> None:
        for name in ("10", "12"):
            shutil.rmtree(processes / name, ignore_errors=True)

    assert end_leftovers(result, processes, kill, pause) == []
    assert sorted(sent) == [(10, signal.SIGTERM), (12, signal.SIGTERM)]


def test_what_does_not_end_is_killed(processes: Path) -> None:
    sent = []
    waited: list[float] = []

    def kill(pid: int, what: int) -> None:
        sent.append((pid, what))
        if pid == 12:
            shutil.rmtree(processes / "12", ignore_errors=True)
            raise ProcessLookupError

    assert end_leftovers("success", processes, kill, waited.append) == [10]
    assert sorted(sent) == [(10, signal.SIGKILL), (10, signal.SIGTERM), (12, signal.SIGTERM)]
    assert sum(waited) == pytest.approx(LAST_SECONDS)


@pytest.mark.parametrize("result", ["signal", "exit-code", "core-dump", "watchdog", ""])
def test_what_a_dead_keeper_left_goes_on(result: str, processes: Path) -> None:
    def kill(pid: int, sent: int) -> None:
        raise AssertionError(f"{pid} was sent {sent}")

    assert end_leftovers(result, processes, kill) == []
