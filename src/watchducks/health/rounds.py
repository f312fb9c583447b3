"""Which site's origin is asked next: rounds, with a pause for each address. Pure; time comes in.

Each address has rounds of its own, so that one with many sites, which takes long, keeps no other
waiting; whatever is registered, no address is asked more often than each :data:`ADDRESS_SECONDS`.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from watchducks.model.origins import Address

# How often an origin is asked, as long as its address has few enough of them.
ROUND_SECONDS: Final = 60.0
# Between two probes of one address, whatever their ports and names: who registers a thousand sites
# with somebody else's address makes us ask it no more often than he could with one hand.
ADDRESS_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Host:
    """The sites at one address; times in POSIX seconds.

    :ivar waiting: those of ``sites`` that are still to be asked in the present round.
    """

    began: float
    sites: set[int] = field(default_factory=set)
    waiting: dict[int, None] = field(default_factory=dict)
    asked: float = -math.inf
    due: float = math.inf


class Rounds:
    """What it holds is bounded by the number of sites; an address that has none any more is
    remembered until it might be asked again."""

    def __init__(self) -> None:
        self._hosts: dict[Address, _Host] = {}
        # When which address is due, the earliest first; the number decides between equals. An
        # entry whose time is not its host's was overtaken.
        self._queue: list[tuple[float, int, Address]] = []
        self._numbers = count()

    def add(self, site_id: int, address: Address, now: float) -> None:
        """Let a site be asked as soon as its address may be."""
        host = self._hosts.setdefault(address, _Host(began=now))
        host.sites.add(site_id)
        host.waiting[site_id] = None
        due = max(now, host.asked + ADDRESS_SECONDS)
        if due < host.due:
            self._enter(address, host, due)

    def remove(self, site_id: int, address: Address) -> None:
        """Let it be asked no more."""
        host = self._hosts[address]
        host.sites.discard(site_id)
        host.waiting.pop(site_id, None)

    def next(self, now: float) -> int | None:
        """Return the site to ask now, or None; it counts as asked."""
        while self._queue and self._queue[0][0] <= now:
            due, _, address = heapq.heappop(self._queue)
            host = self._hosts.get(address)
            if host is None or host.due != due:
                continue
            if not host.sites:
                del self._hosts[address]
                continue
            if not host.waiting:
                host.began = now
                host.waiting = dict.fromkeys(host.sites)
            site_id, _ = host.waiting.popitem()
            host.asked = now
            following = now + ADDRESS_SECONDS
            if not host.waiting:
                following = max(following, host.began + ROUND_SECONDS)
            self._enter(address, host, following)
            return site_id
        return None

    def _enter(self, address: Address, host: _Host, due: float) -> None:
        host.due = due
        heapq.heappush(self._queue, (due, next(self._numbers), address))
