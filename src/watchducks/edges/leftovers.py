"""``python -m watchducks.edges.leftovers``: what systemd runs when a unit of ours has stopped.

A keeper that dies leaves its edges serving until the next one takes their place; so systemd must
not kill them with it (``KillMode=process``). But who stops the unit wants all of it to end, also
what hung and made systemd lose its patience with the keeper, and the edges of a keeper that was
stopped while it had only begun. So then, and only then, whatever is left in the unit's control
group is told to end, and killed if it does not. It runs as root, who sees them all.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

# What systemd.exec(5) says in $SERVICE_RESULT: the keeper ended as it was told to, or it did not
# within TimeoutStopSec (or was not ready within TimeoutStartSec). Everything else is a death, after
# which another keeper begins.
STOPPED: Final = ("success", "timeout")


# For what edges without a keeper have under way: nearly all requests take less, and TimeoutStopSec
# is longer.
LAST_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.05


def end_leftovers(
    result: str,
    processes: Path = Path("/proc"),
    kill: Callable[[int, int], None] = os.kill,
    pause: Callable[[float], None] = time.sleep,  # noqa: TID251 -- no reactor runs here
) -> list[int]:
    """End what is left if ``result`` says that the unit was stopped.

    :return: the process ids of those that had to be killed.
    """
    if result not in STOPPED:
        return []
    left = _tell(_left(processes), signal.SIGTERM, kill)
    for _ in range(round(LAST_SECONDS / _PAUSE_SECONDS)):
        if not left:
            break
        pause(_PAUSE_SECONDS)
        left = list(_left(processes))
    return _tell(left, signal.SIGKILL, kill)


def _tell(pids: Iterable[int], what: signal.Signals, kill: Callable[[int, int], None]) -> list[int]:
    """Send a signal; return those that were there to receive it."""
    told = []
    for pid in pids:
        with suppress(ProcessLookupError):
            kill(pid, what)
            told.append(pid)
    return told


def _left(processes: Path) -> Iterator[int]:
    """Yield the processes that are in our control group, but us."""
    ours = (processes / "self" / "cgroup").read_bytes()
    for process in processes.glob("[0-9]*"):
        pid = int(process.name)
        with suppress(OSError):  # one that ended meanwhile, or somebody else's
            if pid != os.getpid() and (process / "cgroup").read_bytes() == ours:
                yield pid


def main() -> None:
    left = end_leftovers(os.environ.get("SERVICE_RESULT", ""))
    if left:
        sys.stderr.write(f"watchducks: processes {left} did not end by themselves: killed\n")


if __name__ == "__main__":
    main()
