"""Lateness: how long what is due waits for its turn of the reactor.

A turn that takes long, whoever it belongs to, keeps visitors and questions waiting. Prometheus asks
every few seconds and would see none of them, so it is measured all the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from watchducks.model.metrics import Durations, Sample

# Four calls a second cost nothing; a turn of 100 ms is met by two of five of them.
INTERVAL_SECONDS: Final = 0.25


class Lateness:
    """A :class:`~watchducks.background.Part`.

    :param clock: the reactor.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
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
        self._due = self._clock.seconds() + INTERVAL_SECONDS
        self._call = self._clock.callLater(INTERVAL_SECONDS, self._measure)

    def _measure(self) -> None:
        late = self._clock.seconds() - self._due
        self._late.add(max(0, int(late * 1_000_000)))
        self._next()

    def samples(self) -> Iterator[Sample]:
        """Return the histogram."""
        yield from self._late.samples(
            "watchducks_reactor_late_seconds",
            "How much later than due the reactor called, measured four times a second.",
            last_seconds=10.0,
        )
