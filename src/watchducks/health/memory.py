"""The verdicts as a file, so that a name server that restarts during an outage goes on as it was.

One JSON document, replaced as a whole. A file that is not what was written is as good as none: the
verdicts are then found anew, as at the very first start.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from watchducks.model.verdicts import Verdict
from watchducks.replacing import replace_file


@dataclass(frozen=True, slots=True)
class Remembered:
    """:ivar serial: see :class:`watchducks.model.verdicts.Verdicts`."""

    serial: int = 0
    verdicts: tuple[Verdict, ...] = ()


def write(path: Path, serial: int, verdicts: Sequence[Verdict]) -> None:
    """Replace the file. Blocks; for a thread.

    :raises OSError: it cannot be written; the old one is still there.
    """
    document = {
        "serial": serial,
        "verdicts": [
            {
                "address": str(verdict.address),
                "healthy": verdict.healthy,
                "since": verdict.since,
                "reason": verdict.reason,
            }
            for verdict in verdicts
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # Not synced to the disk: after a power cut the old verdicts do as well, being judged anew.
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode("ascii"), durable=False)


def read(path: Path) -> Remembered:
    """Return what was written last, or nothing. Blocks; for a thread."""
    try:
        document = json.loads(path.read_text(encoding="ascii"))
        return Remembered(
            int(document["serial"]),
            tuple(
                Verdict(
                    ipaddress.ip_address(item["address"]),
                    item["healthy"] is True,
                    float(item["since"]),
                    str(item["reason"]),
                )
                for item in document["verdicts"]
            ),
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return Remembered()
