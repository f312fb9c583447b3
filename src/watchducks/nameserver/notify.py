"""NOTIFY: tells the listed secondaries that a zone has changed (RFC 1996), by UDP.

Each secondary has a line of its own, in which a zone that changed waits once. It is told, and told
again with growing pauses until the secondary answers or :data:`ATTEMPTS` are used up; what is
missed then, the secondary finds by itself when its refresh is due. One that is away keeps none of
the others waiting. What was known at the start is not told: a restart of ours is no change, and
100,000 messages would be a storm.
"""

from __future__ import annotations

import heapq
import ipaddress
import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
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
# Messages begun in a turn, so 500 a second: a failover of 10,000 zones is told to one secondary in
# 20 s, and none is buried.
MESSAGES_PER_TURN: Final = 50
# Of one secondary, waiting for an answer at once; more only means that it is away.
MAX_UNANSWERED: Final = 1_000

_NOTIFY: Final = numbers.OP_NOTIFY << 3

# Where a secondary listens.
Secondary = tuple[Address, int]


@dataclass(eq=False, slots=True)
class _Line:
    """One secondary, and what it is still to be told.

    :ivar waiting: the zones that changed, in that order, each once.
    :ivar open: the messages that it has not answered, by id.
    :ivar away: that it does not answer was said, and it has not answered since.
    """

    address: Address
    port: int
    waiting: dict[bytes, None] = field(default_factory=dict)
    open: dict[int, _Message] = field(default_factory=dict)
    away: bool = False


class _Message(NamedTuple):
    """One zone to be told to one secondary. :ivar attempt: how often it was."""

    apex: bytes
    line: _Line
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
        self._lines = {
            (address, port): _Line(address, port) for address, port in dict.fromkeys(secondaries)
        }
        # Whose turn is first; each turn another's.
        self._order = list(self._lines.values())
        self._key = key
        self._zones = zones
        self._reactor = reactor
        self._now = now
        self._ports: dict[int, Any] = {}  # a port that writes datagrams has no interface
        # (when to tell it again, a number that orders those of one moment, id, message)
        self._unanswered: list[tuple[float, int, int, _Message]] = []
        self._sent = 0
        self._turns = Repeating(
            self._turn, TURN_SECONDS, clock=reactor, log=self._log, name="notifying secondaries"
        )
        self._started = False

    async def start(self) -> None:
        """Open a socket for each address family."""
        for version, anywhere in ((4, "0.0.0.0"), (6, "::")):  # noqa: S104  only answers are read
            if any(address.version == version for address, _ in self._lines):
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
        if self._started:
            apexes = dict.fromkeys(self._zones())
            for line in self._order:
                line.waiting.update(apexes)

    def _changed(self, apex: bytes) -> None:
        if self._started:
            for line in self._order:
                line.waiting[apex] = None

    async def _turn(self) -> None:
        now = self._reactor.seconds()
        left = MESSAGES_PER_TURN
        while left and self._unanswered and self._unanswered[0][0] <= now:
            _, _, number, message = heapq.heappop(self._unanswered)
            line = message.line
            if line.open.get(number) is not message:
                continue  # it was answered, and its id may have been used again
            del line.open[number]
            if message.attempt < ATTEMPTS:
                self._send(message._replace(attempt=message.attempt + 1))
                left -= 1
            elif not line.away:  # said once, not for each of 100,000 zones
                line.away = True
                self._log.warn(
                    "secondary {address} does not answer to NOTIFY", address=str(line.address)
                )
        self._order.append(self._order.pop(0))
        while left:
            ready = [
                line for line in self._order if line.waiting and len(line.open) < MAX_UNANSWERED
            ]
            if not ready:
                return
            for line in ready[:left]:
                apex = next(iter(line.waiting))
                del line.waiting[apex]
                self._send(_Message(apex, line, 1))
                left -= 1

    def _send(self, message: _Message) -> None:
        line = message.line
        number = secrets.randbelow(65_536)
        while number in line.open:  # at most MAX_UNANSWERED of 65,536 are taken
            number = secrets.randbelow(65_536)
        packet = (
            struct.pack("!HBB4H", number, _NOTIFY | wire.AA, 0, 1, 0, 0, 0)
            + message.apex
            + struct.pack("!HH", numbers.SOA, numbers.IN)
        )
        if self._key is not None:
            packet = signed_alone(packet, self._key, number, int(self._now()))
        line.open[number] = message
        pause = FIRST_PAUSE_SECONDS * 2 ** (message.attempt - 1)
        self._sent += 1
        heapq.heappush(
            self._unanswered, (self._reactor.seconds() + pause, self._sent, number, message)
        )
        try:
            self._ports[line.address.version].write(packet, (str(line.address), line.port))
        except OSError:
            return  # no way there at the moment; it is tried again

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """An answer, whatever it says, is the end: it was heard."""
        if len(datagram) < wire.HEADER_OCTETS or not datagram[2] & wire.QR:
            return
        if datagram[2] & wire.OPCODE != _NOTIFY:
            return
        host, port = addr[:2]
        line = self._lines.get((ipaddress.ip_address(host.partition("%")[0]), port))
        number = int.from_bytes(datagram[:2], "big")
        if line is not None and number in line.open:
            del line.open[number]
            line.away = False
