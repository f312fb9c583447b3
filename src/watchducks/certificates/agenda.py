"""What is to be looked at when: the earliest first, each once."""

from __future__ import annotations

import heapq


class Agenda:
    """Numbers with a time each. Putting one that is there moves it."""

    def __init__(self) -> None:
        self._times: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def put(self, number: int, time: float) -> None:
        """Look at ``number`` at ``time``; infinity: not at all."""
        self._times[number] = time
        if time == float("inf"):
            del self._times[number]
            return
        heapq.heappush(self._heap, (time, number))

    def take(self, now: float) -> int | None:
        """Return what is due the longest, and forget it; None: nothing is due."""
        while self._heap and self._heap[0][0] <= now:
            time, number = heapq.heappop(self._heap)
            if self._times.get(number) == time:
                del self._times[number]
                return number
        return None
