"""``python -m watchducks.edges.leftovers``: what systemd runs when a unit of ours has stopped.

A keeper that dies leaves its edges serving until the next one takes their place; so systemd must
not kill them with it (``KillMode=process``). But who stops the unit wants all of it to end, also
what hung and made systemd lose its patience with the keeper. So then, and only then, whatever is
left in the unit's control group is killed. It runs as root, who sees them all.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# What systemd.exec(5) says in $SERVICE_RESULT: the keeper ended as it was told to, or it did not
# within TimeoutStopSec (or was not ready within TimeoutStartSec). Everything else is a death, after
# which another keeper begins.
STOPPED: Final = ("success", "timeout")


def kill_leftovers(
    result: str, processes: Path = Path("/proc"), kill: Callable[[int, int], None] = os.kill
) -> list[int]:
    """Kill what is left if ``result`` says that the unit was stopped; return the process ids."""
    if result not in STOPPED:
        return []
    left = list(_left(processes))
    for pid in left:
        with suppress(ProcessLookupError):
            kill(pid, signal.SIGKILL)
    return left


def _left(processes: Path) -> Iterator[int]:
    """Yield the processes that are in our control group, but us."""
    ours = (processes / "self" / "cgroup").read_bytes()
    for process in processes.glob("[0-9]*"):
        pid = int(process.name)
        with suppress(OSError):  # one that ended meanwhile, or somebody else's
            if pid != os.getpid() and (process / "cgroup").read_bytes() == ours:
                yield pid


def main() -> None:
    left = kill_leftovers(os.environ.get("SERVICE_RESULT", ""))
    if left:
        sys.stderr.write(f"watchducks: processes {left} did not end by themselves: killed\n")


if __name__ == "__main__":
    main()
