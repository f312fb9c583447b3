"""What the processes of an appliance have at one moment: memory, descriptors, threads, timers,
Deferreds. What only a process itself can tell it tells by ``bench/inside``."""

from __future__ import annotations

import json
import os
import signal
import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.machine import family
from tests.servers.waiting import wait_until

INSIDE: Final = Path(__file__).parent / "inside"
# Counting a million objects takes a second, and the machine is busy.
_TELL_SECONDS: Final = 30.0
# By what their commands have.
_ROLES: Final = {b"chdb_server": "chDB", b"appliance.nursery": "nursery"}
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Look:
    """What all processes together have at one moment.

    :ivar mib: resident, without chDB, whose memory is ClickHouse's own affair.
    :ivar processes: resident MiB by what a process is.
    :ivar deferreds: that nobody has let go of; and so on: containers and the allocator's blocks.
    :ivar types: objects by type.
    """

    minute: float
    mib: float = 0.0
    descriptors: int = 0
    threads: int = 0
    timers: int = 0
    deferreds: int = 0
    objects: int = 0
    blocks: int = 0
    heap_mib: float = 0.0
    processes: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    types: Counter[str] = field(default_factory=Counter)


def environment(folder: Path) -> dict[str, str]:
    """Return what makes every Python process that has it tell what it has inside."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(INSIDE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"WATCHDUCKS_INSIDE": str(folder), "PYTHONPATH": os.pathsep.join(paths)}


def look(pid: int, folder: Path, minute: float = 0.0, *, collect: bool = False) -> Look:
    """Look at a process and all below it.

    :param folder: that of :func:`environment`.
    :param collect: cycles that Python has not found yet are no objects any more. Not while memory
        is watched: Python's own habits are a part of it.
    :raises AssertionError: one of them does not tell.
    """
    found = Look(minute)
    flag = folder / "collect"
    flag.touch() if collect else flag.unlink(missing_ok=True)
    for one in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # a worker that ended meanwhile
            _look_at(one, folder, found)
    return found


def _look_at(pid: int, folder: Path, found: Look) -> None:
    process = Path(f"/proc/{pid}")
    mib = int((process / "statm").read_text().split()[1]) * _PAGE / 2**20
    descriptors = sum(1 for _ in (process / "fd").iterdir())
    threads = sum(1 for _ in (process / "task").iterdir())
    name = _name(process)
    found.processes[name] += mib
    if name == "chDB":
        return
    inside = _ask(pid, folder)
    found.mib += mib
    found.descriptors += descriptors
    found.threads += threads
    for key in ("timers", "deferreds", "objects", "blocks", "heap_mib"):
        setattr(found, key, getattr(found, key) + inside[key])
    found.types.update(inside["types"])


def _ask(pid: int, folder: Path) -> dict[str, Any]:
    told = folder / f"{pid}.json"
    os.kill(pid, signal.SIGUSR2)
    wait_until(lambda: told.exists() or not Path(f"/proc/{pid}").exists(), f"{pid}", _TELL_SECONDS)
    content: dict[str, Any] = json.loads(told.read_text())
    told.unlink()
    return content


def _name(process: Path) -> str:
    """Return what a process is: an edge has a title, the others their modules."""
    title = (process / "comm").read_text().strip()
    if title.startswith("ducks-edge-"):
        return title
    command = (process / "cmdline").read_bytes()
    return next((name for part, name in _ROLES.items() if part in command), "keeper")


def ends(values: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the first and of the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[:quarter]), statistics.median(values[-quarter:])
