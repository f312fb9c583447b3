"""Not a weapon: what keeps the name server from being used against others.

The source of a datagram can be forged, and then the response goes to somebody who did not ask. So,
by UDP and without a valid cookie (:mod:`watchducks.nameserver.cookies`):

- no response is larger than :data:`MAX_AMPLIFICATION` times its question; what would be is sent
  with TC set and nothing in it, and who really asked comes again over TCP;
- one network gets at most so many responses of one kind a second (response rate limiting, as BIND
  and NSD have it), and ten times as many of all kinds; of those beyond, each second is sent with TC
  and the others are not sent.

And nothing at all goes to a port where something answers whatever it gets.
"""

from __future__ import annotations

import socket
from enum import Enum
from typing import Final, NamedTuple

from twisted.internet.interfaces import IReactorTime

# What the project promises. Ordinary positive answers to a question with EDNS are below 2.
MAX_AMPLIFICATION: Final = 4
# Services that answer any datagram with another (echo, daytime, quote of the day, chargen, time;
# kpasswd, which BIND leaves out as well), and port 0, which nobody can be answered at. Not 53: an
# old resolver may ask from there, and a name server gives no answer to an answer.
UNANSWERED_PORTS: Final = frozenset({0, 7, 13, 17, 19, 37, 464})
# Of the responses beyond the limit, each second one tells the asker to come over TCP (BIND's and
# NSD's default): half of what a forger sends is lost to him, and a real resolver, which asks
# several times, gets through.
SLIP: Final = 2
# What one network may get of all kinds together, in limits of one kind: forged questions about
# 10,000 zones of ours would otherwise have as many limits. A large public resolver stays below it,
# or shows a cookie, or is told to come by TCP.
KINDS_TOGETHER: Final = 10
# Accounts of one second; they are forgotten with it. No more questions than this are answered in a
# second, so it is full only when nearly each comes from a network of its own. 20 MB at the most.
MAX_ACCOUNTS: Final = 100_000

# A client's network: the first three parts of an IPv4 address, or the first 7 octets (/56) of an
# IPv6 address, which is what one customer gets. "" is what is no address.
Network = str | bytes


class Verdict(Enum):
    """What becomes of a response."""

    SEND = "as it is"
    TRUNCATE = "nothing in it, with TC"
    DROP = "not at all"


class Kind(NamedTuple):
    """What responses are counted together.

    :ivar zone: the apex; b"" outside our zones.
    :ivar outcome: b"" for records, else why there are none: so that who asks for random names of a
        zone does not use up what those who ask for real ones may have.
    """

    zone: bytes
    outcome: bytes


class RateLimit:
    """Response rate limiting: at most so many of one kind to one network within a second, and
    :data:`KINDS_TOGETHER` times as many of all kinds.

    Seconds are those of the clock, not the last 1,000 ms: counting starts anew with each, which is
    all the forgetting there is. So twice the limit may be sent around a full second.
    """

    def __init__(self, per_second: int, *, clock: IReactorTime) -> None:
        """:param per_second: 0: no limit."""
        self.per_second = per_second
        self._clock = clock
        self._second = 0
        self._accounts: dict[tuple[Network, Kind], int] = {}
        # What each network got within the limits of the kinds; no more entries than accounts.
        self._networks: dict[Network, int] = {}

    def verdict(self, network: Network, kind: Kind) -> Verdict:
        """Count a response, and return what becomes of it."""
        second = int(self._clock.seconds())
        accounts = self._accounts
        if second != self._second:
            self._second = second
            accounts.clear()
            self._networks.clear()
        account = network, kind
        sent = accounts.get(account, 0)
        if not sent and len(accounts) >= MAX_ACCOUNTS:
            return Verdict.TRUNCATE
        accounts[account] = sent = sent + 1
        beyond = sent - self.per_second
        if beyond <= 0:
            together = self._networks.get(network, 0) + 1
            self._networks[network] = together
            beyond = together - KINDS_TOGETHER * self.per_second
            if beyond <= 0:
                return Verdict.SEND
        return Verdict.DROP if beyond % SLIP else Verdict.TRUNCATE


def network_of(host: str) -> Network:
    """Return the network of an address as a socket gives it; "" for "" (a UNIX socket)."""
    if ":" not in host:
        return host[: host.rfind(".")]
    packed = packed_address(host)
    return packed[:7] if len(packed) == 16 else ".".join(map(str, packed[:3]))


def packed_address(host: str) -> bytes:
    """Return an address's octets: 4, or 16; none for ""."""
    if ":" not in host:
        return socket.inet_aton(host) if host else b""
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    # A socket for both families shows IPv4 as ::ffff:192.0.2.1.
    return packed[12:] if packed.startswith(_MAPPED) else packed


_MAPPED: Final = bytes(10) + b"\xff\xff"
