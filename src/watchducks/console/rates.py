"""Rates: how often one visitor may ask for what costs us something."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

# Buckets of visitors we remember. A full bucket and an unknown visitor are the same, so forgetting
# the longest idle one only matters when more visitors than this ask within a burst's refill time.
MAX_VISITORS: Final = 10_000


class RateLimit:
    """Token buckets, one a visitor.

    :param per_second: how many requests a second are refilled.
    :param burst: how many may come at once.
    """

    def __init__(self, per_second: float, burst: int, clock: IReactorTime) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, visitor: str) -> bool:
        """Take one token of ``visitor``; False when he has none left."""
        now = self._clock.seconds()
        tokens, filled = self._buckets.pop(visitor, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - filled) * self._per_second)
        allowed = tokens >= 1
        self._buckets[visitor] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_VISITORS:
            self._buckets.popitem(last=False)
        return allowed
