"""Processes that get a fixed share of a processor each, as if each had a slow one of its own.

Then two processes can be compared with one on a machine that has no core to spare for those who ask
them: all are kept busy, and requests per second say what they can do. It takes root, and a kernel
with control groups of either version.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from bench.machine import BenchmarkError

_GROUPS: Final = Path("/sys/fs/cgroup")
# Short, so that a process waits for milliseconds when its share is used up, and not for a tenth.
_PERIOD_US: Final = 10_000
_numbers = itertools.count()


@contextmanager
def confined(pids: Iterable[int], share: float) -> Iterator[None]:
    """Give each process ``share`` of a processor while this is entered.

    :raises BenchmarkError: it is not root's machine.
    """
    groups: list[Path] = []
    try:
        for pid in pids:
            groups.append(_made(round(share * _PERIOD_US)))
            (groups[-1] / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as error:
        raise BenchmarkError(f"no process can be given a share of a processor: {error}") from None
    finally:
        for group in groups:
            _remove(group)


def _made(quota_us: int) -> Path:
    name = f"watchducks-bench-{os.getpid()}-{next(_numbers)}"
    first = _GROUPS / "cpu" / name  # version 1
    if first.parent.is_dir():
        first.mkdir()
        (first / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (first / "cpu.cfs_quota_us").write_text(str(quota_us))
        return first
    (_GROUPS / "cgroup.subtree_control").write_text("+cpu")
    second = _GROUPS / name
    second.mkdir()
    (second / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    return second


def _remove(group: Path) -> None:
    """Let what is in it go back, and remove it."""
    for pid in (group / "cgroup.procs").read_text().split():
        with suppress(ProcessLookupError):
            (group.parent / "cgroup.procs").write_text(pid)
    with suppress(OSError):
        group.rmdir()
