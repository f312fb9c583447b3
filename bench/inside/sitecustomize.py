"""What a Python process has inside, told when SIGUSR2 comes: for :mod:`bench.looks` alone.

Python imports a module of this name by itself when its folder is on ``PYTHONPATH``; so nothing of
the product knows of it, and processes that are forked tell as well. Each writes what it found to
``$WATCHDUCKS_INSIDE/PID.json``; if there is a file ``collect``, after it has looked for cycles.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Final

_FOLDER: Final = os.environ.get("WATCHDUCKS_INSIDE", "")
# Of the types: those of which there are most.
_TYPES: Final = 150


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc; ``uordblks`` is what is in use."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _tell(_signal: int, _frame: object) -> None:
    if (Path(_FOLDER) / "collect").exists():
        gc.collect()
    counted = Counter(
        f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects()
    )
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    heap = mallinfo()
    told = {
        "deferreds": counted["twisted.internet.defer.Deferred"],
        "timers": counted["twisted.internet.base.DelayedCall"],
        "objects": counted.total(),
        "blocks": sys.getallocatedblocks(),
        "heap_mib": round((heap.uordblks + heap.hblkhd) / 2**20, 1),
        "free_mib": round(heap.fordblks / 2**20, 1),
        "types": dict(counted.most_common(_TYPES)),
    }
    new = Path(_FOLDER, f"{os.getpid()}.new")
    new.write_text(json.dumps(told))
    new.rename(new.with_suffix(".json"))


if _FOLDER:
    signal.signal(signal.SIGUSR2, _tell)
