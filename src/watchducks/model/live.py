"""What happens at this moment: the words that proxies and consoles have in common about it.

A console that shows a site says so on :data:`WATCH` every few seconds; a proxy that has requests of
it then tells them on :func:`channel_of` the site, once a second, until nobody has said so for
:data:`WATCH_SECONDS`. Both go through the shared cache: with one in memory, within the process.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from watchducks.model.rows import Row

WATCH: Final = "live"
# Longer than a console needs to say it again, and short enough that no proxy talks to nobody.
WATCH_SECONDS: Final = 10.0
# What a person can read in a second; the others are counted.
MOST_VISITS: Final = 12
# A longer path is cut: this is a glance, and all of it is in the log store.
MOST_PATH: Final = 200


class Visit(NamedTuple):
    """One request. :ivar time: POSIX seconds."""

    time: float
    method: str
    path: str
    status: int
    duration_ms: float

    @classmethod
    def of(cls, row: Row) -> Visit:
        return cls(
            row.time_us / 1_000_000,
            row.method[:16],
            row.path[:MOST_PATH],
            row.status,
            row.duration_us / 1000,
        )


def channel_of(site_id: int) -> str:
    return f"{WATCH}:{site_id}"


def pack(requests: int, visits: Sequence[Visit]) -> bytes:
    """Return a message: how many requests there were, and some of them."""
    return json.dumps([requests, visits]).encode()


def unpack(message: bytes) -> tuple[int, list[Visit]]:
    """Return what :func:`pack` packed. :raises ValueError: it is something else."""
    try:
        requests, visits = json.loads(message)
        return int(requests), [_visit(*visit) for visit in visits[:MOST_VISITS]]
    except (TypeError, KeyError) as error:
        raise ValueError("no message of a proxy") from error


def _visit(time: Any, method: Any, path: Any, status: Any, duration_ms: Any) -> Visit:
    return Visit(float(time), str(method), str(path), int(status), float(duration_ms))
