"""``python -m watchducks.edges.leftovers``: what systemd runs when a unit of ours has stopped.

A keeper that dies leaves its edges serving until the next one takes their place; so systemd must
not kill them with it (``KillMode=process``). But who stops the unit wants all of it to end, also
what hung and made systemd lose its patience with the keeper. So then, and only then, whatever is
left in the unit's control group is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

# What systemd.exec(5) says in $SERVICE_RESULT: the keeper ended as it was told to, or it did not
# within TimeoutStopSec (or was not ready within TimeoutStartSec). Everything else is a death, after
# which another keeper begins.
STOPPED: Final = ("success", "timeout")


def kill_leftovers(
    result: str,
    ours: Path = Path("/proc/self/cgroup"),
    groups: Path = Path("/sys/fs/cgroup"),
    kill: Callable[[int, int], None] = os.kill,
) -> list[int]:
    """Kill what is left if ``result`` says that the unit was stopped; return the process ids.

    :param ours: which control group we are in. :param groups: all of them (version 2).
    """
    if result not in STOPPED:
        return []
    left = [pid for pid in _members(ours, groups) if pid != os.getpid()]
    for pid in left:
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return left


def _members(ours: Path, groups: Path) -> list[int]:
    # Not by /proc, which hides from us what runs in the user namespace of the keeper.
    for line in ours.read_text().splitlines():
        if line.startswith("0::"):
            group = groups / line[3:].lstrip("/")
            return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    return []


def main() -> None:
    left = kill_leftovers(os.environ.get("SERVICE_RESULT", ""))
    if left:
        sys.stderr.write(f"watchducks: processes {left} did not end by themselves: killed\n")


if __name__ == "__main__":
    main()
