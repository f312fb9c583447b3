"""The machine that is measured on: which cores, what a process has used, what is installed.

CPU time is the kernel's user + system time of a process and everything below it, from
``/proc/PID/stat``: all threads of a process, and all workers of a server that has some.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

# The server that is measured has this core to itself ...
MEASURED_CORE: Final = 0
# ... and the load, the origin and the log store share this one.
OTHER_CORE: Final = 1

_TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
# Debian keeps servers in sbin, which is not on an ordinary user's path.
_PATH: Final = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text is the line for the person who started it."""


class Usage(NamedTuple):
    """CPU seconds since the process began, in two parts.

    :ivar serving: what a request costs while it is served.
    :ivar after: what it costs later: shipping its log row.
    """

    serving: float
    after: float


def program(name: str) -> str:
    """Return the path of a program.

    :raises BenchmarkError: it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise BenchmarkError(f"{name} is not installed (scripts/install-peers)")
    return found


def check_cores() -> None:
    """:raises BenchmarkError: there are no two cores to keep the measured server apart."""
    if not {MEASURED_CORE, OTHER_CORE} <= os.sched_getaffinity(0):
        raise BenchmarkError("two cores (0 and 1) are needed, one of them for the measured server")


def on_core(core: int, command: list[str]) -> list[str]:
    """Return ``command`` pinned to a core; the process id stays the one that is started."""
    return [program("taskset"), "--cpu-list", str(core), *command]


def prefer(pids: Iterable[int], rank: int) -> None:
    """Let processes run before all others on their cores, and before those of a lower rank, so that
    what else runs there is not taken for the measured server's work. Whatever they start is not
    preferred.

    :raises BenchmarkError: that takes root's rights.
    """
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(rank))
    except PermissionError:
        raise BenchmarkError("only root may let some processes run before others") from None


def cpu_seconds(pid: int) -> float:
    """Return what a process and those below it have used so far, to the kernel's tick of 10 ms."""
    return sum(_cpu_seconds(Path(f"/proc/{one}/stat")) for one in family(pid))


def first_thread_cpu_seconds(pid: int) -> float:
    """Return what the first thread of a process has used so far."""
    return _cpu_seconds(Path(f"/proc/{pid}/task/{pid}/stat"))


def resident_bytes(pid: int) -> int:
    """Return the memory of a process and those below it that is in RAM; shared pages count once
    for each process."""
    return sum(
        int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE_BYTES for one in family(pid)
    )


def describe() -> str:
    """Return one line about the machine and how busy it was over the last minute."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}, load {os.getloadavg()[0]}"


def _cpu_seconds(stat: Path) -> float:
    # The name of the program, which may hold spaces, is in parentheses; utime and stime are the
    # 14th and 15th field of the line.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def family(pid: int) -> list[int]:
    """Return the process and all below it."""
    found = [pid]
    with suppress(OSError):  # one that ends meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    return found
