"""Lateness: how long what is due waits for its turn of the reactor.

A turn that takes long, whoever it belongs to, keeps visitors and questions waiting. Prometheus asks
every few seconds and would see none of them, so it is measured all the time. One that visitors
notice is told in the log, with what it went by: work of ours, other processes, or neither, which is
a disk, or the machine that this one is a guest of.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from watchducks.model.metrics import Durations, Sample

# Four calls a second cost nothing; a turn of 100 ms is met by two of five of them.
INTERVAL_SECONDS: Final = 0.25
# A page that takes so long is noticed; no turn of ours is to come near it.
NOTICED_SECONDS: Final = 1.0
# Of the reactor's thread: nanoseconds on a processor, and in line for one (proc(5)).
_SCHEDSTAT: Final = Path("/proc/thread-self/schedstat")


class Lateness:
    """A :class:`~watchducks.background.Part`.

    :param clock: the reactor.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._worked = self._waited = 0.0
        self._late = Durations()
        self._due = 0.0
        self._call: IDelayedCall | None = None

    async def start(self) -> None:
        """Begin to measure."""
        self._next()

    async def stop(self) -> None:
        """End."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _next(self) -> None:
        self._worked, self._waited = _worked_and_waited()
        self._due = self._clock.seconds() + INTERVAL_SECONDS
        self._call = self._clock.callLater(INTERVAL_SECONDS, self._measure)

    def _measure(self) -> None:
        late = self._clock.seconds() - self._due
        self._late.add(max(0, int(late * 1_000_000)))
        if late >= NOTICED_SECONDS:
            worked, waited = _worked_and_waited()
            self._log.warn(
                "everybody had to wait for {late} s: this process worked for {worked} s of them,"
                " and was in line for a processor for {waited} s",
                late=round(late, 1),
                worked=round(worked - self._worked, 1),
                waited=round(waited - self._waited, 1),
            )
        self._next()

    def samples(self) -> Iterator[Sample]:
        """Return the histogram."""
        yield from self._late.samples(
            "watchducks_reactor_late_seconds",
            "How much later than due the reactor called, measured four times a second.",
            last_seconds=10.0,
        )


def _worked_and_waited() -> tuple[float, float]:
    """Return for how long this thread has been on a processor, and in line for one, seconds."""
    try:
        _, waited, _ = _SCHEDSTAT.read_text(encoding="ascii").split()
    except (OSError, ValueError):  # a kernel that does not tell
        waited = "0"
    return time.thread_time(), int(waited) / 1e9
