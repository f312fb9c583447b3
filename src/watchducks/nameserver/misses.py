"""Names that visitors ask for and that a zone does not have: perhaps it once had them.

Who asks for random names must neither fill memory nor make us ask anybody anything: a name counts
when it is asked for again after a while, which random names are not, and each zone has few places.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from typing import Final

from twisted.internet.interfaces import IReactorTime

# Places of one zone. An owner forgets some of his records, not hundreds of them; more would only
# give room to random names.
MAX_NAMES_PER_ZONE: Final = 64
# Of all zones together: some 200 octets each, so 4 MB.
MAX_NAMES: Final = 20_000
# The same name after this long is asked for by somebody else, or by a resolver that has forgotten;
# what comes sooner is the same visitor's other question (AAAA after A). The responses that are kept
# ready hide questions for ten minutes at most, so a name in use is seen again.
AGAIN_SECONDS: Final = 60.0
# Sightings that make a name worth a question to the old name servers.
MIN_SIGHTINGS: Final = 2
# And how long that question is not asked again.
REST_SECONDS: Final = 86_400.0
# What records have names of: hosts, services, selectors. Random strings are longer, or deeper.
MAX_LABELS: Final = 5
MAX_OCTETS: Final = 64
_NAME: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class _Sighted:
    __slots__ = ("asked", "count", "last")

    def __init__(self, now: float) -> None:
        self.count = 1
        self.last = now
        self.asked: float | None = None


class Misses:
    """Counts names that got NXDOMAIN, for whoever asks the old name servers about them.

    :ivar names: how many are remembered.
    """

    def __init__(self, *, clock: IReactorTime, again_seconds: float = AGAIN_SECONDS) -> None:
        self._clock = clock
        self._again_seconds = again_seconds
        self._zones: OrderedDict[bytes, dict[bytes, _Sighted]] = OrderedDict()
        self.names = 0
        self._ready: deque[tuple[bytes, bytes]] = deque()

    def note(self, apex: bytes, name: bytes) -> None:
        """Count one answer NXDOMAIN. Called while a question is answered: cheap, never raises.

        :param apex: the zone's wire name in lower case.
        :param name: the name asked for, likewise; at or below the apex.
        """
        if len(name) - len(apex) > MAX_OCTETS:
            return
        now = self._clock.seconds()
        names = self._zones.get(apex)
        if names is None:
            names = self._zones[apex] = {}
        else:
            self._zones.move_to_end(apex)
        sighted = names.get(name)
        if sighted is None:
            if len(names) < MAX_NAMES_PER_ZONE or self._make_room(names, now):
                names[name] = _Sighted(now)
                self.names += 1
                if self.names > MAX_NAMES:
                    _, forgotten = self._zones.popitem(last=False)
                    self.names -= len(forgotten)
            return
        if now - sighted.last < self._again_seconds:
            return
        sighted.count += 1
        sighted.last = now
        rested = sighted.asked is None or now - sighted.asked >= REST_SECONDS
        if sighted.count >= MIN_SIGHTINGS and rested:
            sighted.asked = now
            self._ready.append((apex, name))

    def _make_room(self, names: dict[bytes, _Sighted], now: float) -> bool:
        """Forget the name of a zone that was seen once and longest ago, or asked about long ago."""
        for name, sighted in names.items():
            if sighted.count < MIN_SIGHTINGS or now - sighted.last >= REST_SECONDS:
                del names[name]
                self.names -= 1
                return True
        return False

    def take(self, limit: int) -> list[tuple[str, str]]:
        """Return up to ``limit`` pairs of zone and name (relative to it) to ask about, each name at
        most once in :data:`REST_SECONDS`; what does not look like a name of records is dropped."""
        taken: list[tuple[str, str]] = []
        while self._ready and len(taken) < limit:
            apex, name = self._ready.popleft()
            zone = ".".join(_labels(apex))
            relative = ".".join(_labels(name[: len(name) - len(apex)]))
            if relative.count(".") < MAX_LABELS and _NAME.fullmatch(relative):
                taken.append((zone, relative))
        return taken


def _labels(wire: bytes) -> list[str]:
    """Return the labels of a wire name, with or without its final zero octet."""
    labels, start = [], 0
    while start < len(wire) and wire[start]:
        end = start + 1 + wire[start]
        # A dot within a label must not become two labels.
        labels.append(wire[start + 1 : end].decode("latin-1").replace(".", "\\"))
        start = end
    return labels
