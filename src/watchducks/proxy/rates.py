"""How much one client may ask of us: connections at a time, and requests a second.

Both limits are off by default, and then no object of this module exists. A client is an IPv4
address, or the /64 of an IPv6 one, which is what one household or server gets.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

from twisted.internet.interfaces import IReactorTime

# Clients whose tokens are counted: 12 MB at most. A full bucket and an unknown client are the same,
# so forgetting the longest idle one matters only when more clients than this come within a second.
MAX_CLIENTS: Final = 50_000
# A page with its images and scripts is 50 to 100 requests at once, and then quiet for a while: a
# client may use up this many seconds of his rate at once.
BURST_SECONDS: Final = 2.0


def client_of(address: str) -> str:
    """Return the key of whoever has ``address``: itself, or the /64 of an IPv6 address."""
    if ":" not in address:
        return address
    try:
        number = int(ipaddress.IPv6Address(address))
    except ValueError:
        return address
    return f"{number >> 64:x}/64"


class ClientRates:
    """The limits per client; shared by all connections of one proxy.

    Connections are counted exactly, and their memory is bounded by the connections there are.
    """

    def __init__(
        self, *, connections: int, requests_per_second: float, clock: IReactorTime
    ) -> None:
        """:param connections: at a time; 0: any number.
        :param requests_per_second: on average; 0: any number.
        """
        self._max_connections = connections
        self._per_second = requests_per_second
        # Whoever may ask at all may ask once.
        self._burst = max(1.0, requests_per_second * BURST_SECONDS)
        self._clock = clock
        self._connections: dict[str, int] = {}
        # client -> (tokens, when they were counted), the longest idle one first.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def limits_connections(self) -> bool:
        """Whether connections need to be counted."""
        return self._max_connections > 0

    def connected(self, address: str) -> bool:
        """Count one connection; False: it is one too many, is not counted, and is to be closed.

        Whoever gets True calls :meth:`disconnected` once.
        """
        client = client_of(address)
        count = self._connections.get(client, 0)
        if count >= self._max_connections:
            return False
        self._connections[client] = count + 1
        return True

    def disconnected(self, address: str) -> None:
        """A connection that was counted has ended."""
        client = client_of(address)
        count = self._connections[client] - 1
        if count:
            self._connections[client] = count
        else:
            del self._connections[client]

    def allows(self, address: str) -> bool:
        """Take one token for a request; False: the client has none left (429)."""
        if not self._per_second:
            return True
        client = client_of(address)
        now = self._clock.seconds()
        tokens, counted = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted) * self._per_second)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return allowed
