"""What is left of a unit: killed when it was stopped, and only then."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from watchducks.edges.leftovers import kill_leftovers


@pytest.fixture
def group(tmp_path: Path) -> tuple[Path, Path]:
    """Which control group is ours, and where all are."""
    folder = tmp_path / "groups/system.slice/watchducks@blue.service"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(f"10\n{os.getpid()}\n12\n")
    (tmp_path / "ours").write_text("0::/system.slice/watchducks@blue.service\n")
    return tmp_path / "ours", tmp_path / "groups"


@pytest.mark.parametrize("result", ["success", "timeout"])
def test_what_is_left_of_a_unit_that_was_stopped_is_killed(
    result: str, group: tuple[Path, Path]
) -> None:
    killed = []

    def kill(pid: int, sent: int) -> None:
        killed.append((pid, sent))
        raise ProcessLookupError

    assert kill_leftovers(result, *group, kill) == [10, 12]
    assert killed == [(10, signal.SIGKILL), (12, signal.SIGKILL)]


@pytest.mark.parametrize("result", ["signal", "exit-code", "core-dump", "watchdog", ""])
def test_what_a_dead_keeper_left_goes_on(result: str, group: tuple[Path, Path]) -> None:
    def kill(pid: int, sent: int) -> None:
        raise AssertionError(f"{pid} was killed")

    assert kill_leftovers(result, *group, kill) == []
