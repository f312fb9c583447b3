"""NOTIFY: tells the listed secondaries that a zone has changed (RFC 1996), by UDP.

A zone that changed waits in line once for each secondary, is told, and told again with growing
pauses until the secondary answers or :data:`ATTEMPTS` are used up; what is missed then, the
secondary finds by itself when its refresh is due. What was known at the start is not told: a
restart of ours is no change, and 100,000 messages would be a storm.
"""

from __future__ import annotations

import heapq
import ipaddress
import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import dns.tsig
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.names import dns as numbers

from watchducks.background import Repeating
from watchducks.model.changes import Changes
from watchducks.model.origins import Address
from watchducks.nameserver import wire
from watchducks.nameserver.records import wire_name
from watchducks.nameserver.tsig import signed_alone

# The first and its repetitions, 2, 4, 8 and 16 seconds apart: RFC 1996 section 3.6 suggests five
# and a minute, for links of its time.
ATTEMPTS: Final = 5
FIRST_PAUSE_SECONDS: Final = 2.0
TURN_SECONDS: Final = 0.1
# Messages begun in a turn, so 500 a second: a failover of 10,000 zones is told in 20 s, and a
# secondary is not buried.
MESSAGES_PER_TURN: Final = 50
# Waiting for an answer at once; more only means that a secondary is away, and its share of the line
# must not keep the others waiting.
MAX_UNANSWERED: Final = 1_000

_NOTIFY: Final = numbers.OP_NOTIFY << 3

# Where a secondary listens.
Secondary = tuple[Address, int]


class _Message(NamedTuple):
    """One zone to be told to one secondary. :ivar attempt: how often it was."""

    apex: bytes
    secondary: Secondary
    attempt: int


class Notifier(DatagramProtocol):
    """A Part. :meth:`apply` is what a ``SiteFeed`` calls; :meth:`all_changed` is for verdicts.

    What it holds is bounded by zones times secondaries.
    """

    noisy = False
    _log = Logger()

    def __init__(
        self,
        secondaries: Sequence[Secondary],
        *,
        key: dns.tsig.Key | None,
        zones: Callable[[], Iterable[bytes]],
        reactor: Any,
        now: Callable[[], float],
    ) -> None:
        """
        :param key: what the messages are signed with; None: they are not.
        :param zones: the apexes of all zones that hold proxied names.
        :param reactor: provides IReactorUDP and IReactorTime.
        """
        self._secondaries = tuple(secondaries)
        self._key = key
        self._zones = zones
        self._reactor = reactor
        self._now = now
        self._ports: dict[int, Any] = {}  # a port that writes datagrams has no interface
        # In the order in which they changed; each once.
        self._waiting: dict[tuple[bytes, Secondary], None] = {}
        # (when to tell it again, id, message): the ids order those of one moment.
        self._unanswered: list[tuple[float, int, _Message]] = []
        self._open: dict[int, _Message] = {}
        self._turns = Repeating(
            self._turn, TURN_SECONDS, clock=reactor, log=self._log, name="notifying secondaries"
        )
        self._started = False

    async def start(self) -> None:
        """Open a socket for each address family."""
        for version, anywhere in ((4, "0.0.0.0"), (6, "::")):  # noqa: S104  only answers are read
            if any(address.version == version for address, _ in self._secondaries):
                self._ports[version] = self._reactor.listenUDP(0, self, interface=anywhere)
        self._started = True
        self._turns.start()

    async def stop(self) -> None:
        """Tell nothing more."""
        self._started = False
        await self._turns.stop()
        ports, self._ports = self._ports, {}
        for port in ports.values():
            closing = port.stopListening()
            if closing is not None:
                await closing

    def apply(self, changes: Changes) -> None:
        """Tell of zones that changed. A removed one is told too: its transfer is then refused."""
        for zone in (*(site.zone for site in changes.sites), *changes.removed):
            try:
                self._changed(wire_name(zone))
            except ValueError:
                continue  # it is no zone of ours either

    def all_changed(self) -> None:
        """Tell of every zone: a verdict changed, and with it what proxied names lead to."""
        for apex in self._zones():
            self._changed(apex)

    def _changed(self, apex: bytes) -> None:
        if self._started:
            for secondary in self._secondaries:
                self._waiting[apex, secondary] = None

    async def _turn(self) -> None:
        now = self._reactor.seconds()
        left = MESSAGES_PER_TURN
        while left and self._unanswered and self._unanswered[0][0] <= now:
            _, number, message = heapq.heappop(self._unanswered)
            if self._open.get(number) is not message:
                continue  # it was answered, and its id may have been used again
            del self._open[number]
            if message.attempt < ATTEMPTS:
                self._send(message._replace(attempt=message.attempt + 1))
                left -= 1
            else:
                self._log.warn(
                    "secondary {address} does not answer to NOTIFY",
                    address=str(message.secondary[0]),
                )
        while left and self._waiting and len(self._open) < MAX_UNANSWERED:
            apex, secondary = next(iter(self._waiting))
            del self._waiting[apex, secondary]
            self._send(_Message(apex, secondary, 1))
            left -= 1

    def _send(self, message: _Message) -> None:
        number = secrets.randbelow(65_536)
        while number in self._open:  # at most MAX_UNANSWERED of 65,536 are taken
            number = secrets.randbelow(65_536)
        packet = (
            struct.pack("!HBB4H", number, _NOTIFY | wire.AA, 0, 1, 0, 0, 0)
            + message.apex
            + struct.pack("!HH", numbers.SOA, numbers.IN)
        )
        if self._key is not None:
            packet = signed_alone(packet, self._key, number, int(self._now()))
        self._open[number] = message
        pause = FIRST_PAUSE_SECONDS * 2 ** (message.attempt - 1)
        heapq.heappush(self._unanswered, (self._reactor.seconds() + pause, number, message))
        address, port = message.secondary
        try:
            self._ports[address.version].write(packet, (str(address), port))
        except OSError:
            return  # no way there at the moment; it is tried again

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """An answer, whatever it says, is the end: it was heard."""
        if len(datagram) < wire.HEADER_OCTETS or not datagram[2] & wire.QR:
            return
        if datagram[2] & wire.OPCODE != _NOTIFY:
            return
        number = int.from_bytes(datagram[:2], "big")
        message = self._open.get(number)
        if message is None:
            return
        host, port = addr[:2]
        address = ipaddress.ip_address(host.partition("%")[0])
        if (address, port) == message.secondary:
            del self._open[number]
