"""Questions, counted and not logged: per zone, type, outcome and network of the asker.

A question costs one look-up in a table; once a minute the table goes to the log store and begins
anew. DNS depends on none of it: while the log store is away, the table of the minutes since adds
up, and it is bounded.
"""

from __future__ import annotations

import secrets
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import dns

from watchducks.background import Repeating
from watchducks.nameserver.guard import Network
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

# How often counts go to the log store; charts have no finer buckets than a minute.
REPORT_SECONDS: Final = 60.0
# A forger can make each question look as if it came from a network of its own. Beyond this many
# different ones, networks are not told apart any more, and beyond the second number zones and types
# neither. 60,000 are some 15 MB, and more than the networks with resolvers of their own.
MAX_ROWS: Final = 60_000
MAX_ROWS_WITHOUT_NETWORK: Final = 80_000
# How long the stop of the name server waits for its last counts to be stored.
LAST_SECONDS: Final = 3.0

RCODES: Final = {
    dns.OK: "NOERROR",
    dns.EFORMAT: "FORMERR",
    dns.ESERVER: "SERVFAIL",
    dns.ENAME: "NXDOMAIN",
    dns.ENOTIMP: "NOTIMP",
    dns.EREFUSED: "REFUSED",
    16: "BADVERS",
}
# Types newer than Twisted's list that browsers, mail servers and resolvers ask for.
_TYPES: Final = {
    **dns.QUERY_TYPES,
    **dns.EXT_QUERIES,
    43: "DS",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    52: "TLSA",
    59: "CDS",
    60: "CDNSKEY",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
    257: "CAA",
}
_OTHER: Final = "other"


class Subject(NamedTuple):
    """What a question was about.

    :ivar zone: the apex as a wire name; b"" outside our zones, and for what could not be read.
    :ivar type: the type's number; 0 for what could not be read.
    """

    zone: bytes
    type: int
    rcode: int


class Counted(NamedTuple):
    """How many questions had all this in common.

    :ivar zone: without a final dot; "" as in :class:`Subject`.
    :ivar type: such as "AAAA"; "other" for what is not usual.
    :ivar rcode: such as "NXDOMAIN".
    :ivar network: such as "192.0.2.0/24" or "2001:db8::/48"; "" when there were too many of them.
    """

    zone: str
    type: str
    rcode: str
    network: str
    questions: int


class CountSink(Protocol):
    """Where counts go: offered by :mod:`watchducks.analytics`."""

    async def store(self, time: int, rows: Sequence[Counted], token: str) -> None:
        """Keep ``rows``, which were counted in the minute before ``time`` (POSIX seconds).

        :param token: the same rows come with the same token when they come again.
        :raises StoreUnavailable: not now; whether they were stored may be in doubt.
        :raises StoreRefused: these never.
        """


class Counts:
    """The table: on the reactor's thread alone."""

    def __init__(self) -> None:
        self._table: dict[tuple[Subject, Network], int] = {}

    def add(self, subject: Subject, network: Network) -> None:
        """Count one question."""
        table = self._table
        row = subject, network
        known = table.get(row)
        if known is not None:
            table[row] = known + 1
        else:
            self._add_new(subject, network)

    def _add_new(self, subject: Subject, network: Network) -> None:
        if len(self._table) >= MAX_ROWS:
            network = ""
            if len(self._table) >= MAX_ROWS_WITHOUT_NETWORK:
                subject = Subject(b"", 0, subject.rcode)
        row = subject, network
        self._table[row] = self._table.get(row, 0) + 1

    def take(self) -> list[Counted]:
        """Return what was counted since the last time, and begin anew."""
        table, self._table = self._table, {}
        rows: Counter[tuple[str, str, str, str]] = Counter()
        for (subject, network), questions in table.items():
            row = (
                _name(subject.zone),
                _TYPES.get(subject.type, _OTHER),
                RCODES.get(subject.rcode, _OTHER),
                _prefix(network),
            )
            rows[row] += questions
        return [Counted(*row, questions) for row, questions in rows.items()]


class CountReporter:
    """Takes the counts to the log store (:class:`watchducks.background.Part`)."""

    _log = Logger()

    def __init__(
        self,
        counts: Counts,
        sink: CountSink,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param now: POSIX seconds."""
        self._counts = counts
        self._sink = sink
        self._clock = clock
        self._now = now
        # What was taken and is not stored yet, with its time and its name.
        self._waiting: tuple[int, list[Counted], str] | None = None
        # The first time is at once: what was counted while the parts started.
        self._repeating = Repeating(
            self.report, REPORT_SECONDS, clock=clock, log=self._log, name="storing counts of DNS"
        )

    async def start(self) -> None:
        self._repeating.start()

    async def stop(self) -> None:
        """Store what there is, if that is possible within :data:`LAST_SECONDS`."""
        await self._repeating.stop()
        last = Deferred.fromCoroutine(self.report())
        try:
            await last.addTimeout(LAST_SECONDS, self._clock)
        except DeferredTimeoutError:
            self._log.warn("the log store takes too long for the last counts of DNS")

    async def report(self) -> None:
        """Store what was counted. What cannot be stored now is stored first the next time.

        Counts of an outage come as one block with the time of its end: how many there were is kept,
        and when exactly is not.
        """
        if self._waiting is None:
            rows = self._counts.take()
            if not rows:
                return
            self._waiting = int(self._now()), rows, f"dns-{secrets.token_hex(8)}"
        try:
            await self._sink.store(*self._waiting)
        except StoreUnavailable as error:
            self._log.debug("counts of DNS wait for the log store: {error}", error=str(error))
            return
        except StoreRefused as error:
            self._log.error("a minute's counts of DNS are lost: {error}", error=str(error))
        self._waiting = None


def _name(apex: bytes) -> str:
    labels: list[str] = []
    offset = 0
    while offset < len(apex) and apex[offset]:
        end = offset + 1 + apex[offset]
        labels.append(apex[offset + 1 : end].decode("ascii", "backslashreplace"))
        offset = end
    return ".".join(labels)


def _prefix(network: Network) -> str:
    """Return a network as people write it: /24, or /48, which is what one site gets."""
    if not network:
        return ""
    if isinstance(network, str):
        return f"{network}.0/24"
    return socket.inet_ntop(socket.AF_INET6, network[:6] + bytes(10)) + "/48"
