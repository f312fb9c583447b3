"""One edge: the parts that carry traffic, in a process of their own.

Everything is learnt from the keeper: the configuration, the sites, the verdicts. Parts that belong
to a role are imported here, before the nursery forks; nothing of it may import the reactor, which
each edge installs for itself.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from watchducks import garbage
from watchducks.appliance.certificates import EDGES_BOARD, EDGES_FILES
from watchducks.appliance.dns import start_the_answers
from watchducks.appliance.house import House, Reactor
from watchducks.appliance.journal import start_the_spool
from watchducks.appliance.measures import start_measuring
from watchducks.appliance.pace import EDGES_PACE, USUAL, Pace
from watchducks.appliance.traffic import start_the_proxy
from watchducks.background import Repeating, StartupError
from watchducks.certificates.store import CertificateStore
from watchducks.edges.binding import by_text
from watchducks.edges.line import FORMAT, Line
from watchducks.edges.messages import of_losses
from watchducks.edges.orphans import Pairs, Waiting
from watchducks.edges.remote import RemoteCounts, RemoteFeed, RemoteSites, RemoteVerdicts
from watchducks.instances import control_file
from watchducks.journal.losses import Losses
from watchducks.lookups.known_names import KnownNames
from watchducks.lookups.remembered import read_document
from watchducks.model.challenges import Answers, Challenge
from watchducks.nameserver.counts import CountReporter, Counts
from watchducks.nameserver.misses import Misses
from watchducks.reactor import install
from watchducks.settings import parse
from watchducks.sockets import Sockets
from watchducks.stores.memory import MemoryCache

# Signs of life, with what was measured and missed meanwhile.
BEAT_SECONDS: Final = 2.0
# Names that were asked for in vain, of one beat: far more than the keeper looks up in that time.
_MISSED_A_BEAT: Final = 50
# A certificate that the keeper has written is in use everywhere within two seconds.
SCAN_SECONDS: Final = 1.0
_TITLE: Final = Path("/proc/self/comm")


def run_edge(number: int, line: socket.socket, pairs: Pairs, default: SSL.Context) -> None:
    """Be an edge, until the keeper or a signal ends it.

    :param line: to the keeper.
    :param pairs: what to listen on, with the texts of the configuration.
    :param default: the TLS context that every connection begins with.
    """
    _TITLE.write_text(f"ducks-edge-{number}")  # what ps and top show; 15 characters at most
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
    install()
    from twisted.internet import reactor

    edge = EdgeProcess(number, pairs, default, reactor=reactor)
    chosen: Reactor = reactor
    chosen.callWhenRunning(edge.begin, line)
    chosen.addSystemEventTrigger("before", "shutdown", edge.end)
    chosen.callWhenRunning(signal.signal, signal.SIGINT, signal.SIG_IGN)
    chosen.run()


class EdgeProcess:
    """What runs in an edge."""

    _log = Logger()

    def __init__(
        self, number: int, pairs: Pairs, default: SSL.Context, *, reactor: Reactor
    ) -> None:
        self._number = number
        self._pairs = pairs
        self._default = default
        self._reactor = reactor
        self._line = Line(
            {
                "begin": self._begins,
                "board": self._told,
                "sites": self._sites,
                "complete": self._complete,
                "end": self._stop,
            },
            self._alone,
            clock=reactor,
        )
        self._feed = RemoteFeed()
        self._verdicts = RemoteVerdicts()
        self._answers = Answers()
        self._names = KnownNames()
        self._pace = USUAL
        self._misses: Misses | None = None
        self._certificates: CertificateStore | None = None
        # Kept by the keeper, who learns of them by the beats: nothing of an edge is on disk.
        self._losses = Losses(Path(os.devnull))
        self._house: House | None = None
        self._count = 1
        self._waiting: Waiting | None = None
        self._serving = self._ending = False
        self._beats = Repeating(
            self._beat, BEAT_SECONDS, clock=reactor, log=self._log, name="telling the keeper"
        )

    def begin(self, line: socket.socket) -> None:
        """Speak with the keeper."""
        self._line.speak(line, reactor=self._reactor)
        self._line.tell("hello", os.getpid())

    # --- what the keeper says ---

    def _begins(self, format_: int, count: int, instance: str, document: Mapping[str, Any]) -> None:
        if format_ != FORMAT:
            raise StartupError(f"the keeper speaks format {format_}, and this is {FORMAT}")
        self._count = count
        self._house = House(parse(document), self._reactor, instance)
        self._house.names = self._names

    def _told(self, name: str, value: Any) -> None:
        if name == "verdicts":
            self._verdicts.told(value)
        elif name == EDGES_BOARD:
            self._answers.replace(Challenge(*one) for one in value)
        elif name == "names":
            self._names.told(read_document(value))
        elif name == EDGES_PACE:
            self._pace = Pace(**value)
        elif name == EDGES_FILES and self._certificates is not None:
            self._certificates.nudge()

    def _sites(self, *said: Any) -> None:
        self._feed.told(*said)

    def _complete(self) -> None:
        _ = Deferred.fromCoroutine(self._start()).addErrback(self._broken)

    def _broken(self, failure: Any) -> None:
        self._log.failure("the edge cannot start", failure=failure)
        self._line.tell("failed", f"{failure.type.__name__}: {failure.getErrorMessage()}")
        self._stop()

    # --- the parts ---

    async def _start(self) -> None:
        house = self._house
        assert house is not None
        try:
            await self._start_the_roles(house)
        except StartupError as error:
            self._line.tell("failed", str(error))
            self._stop()
            return
        self._feed.settle()
        garbage.settle()
        self._beats.start()
        self._serving = True
        self._line.tell("serving")

    async def _start_the_roles(self, house: House) -> None:
        roles = house.settings.node.roles
        sockets = Sockets(by_text(self._pairs), inherited=())
        await start_measuring(house)
        await self._feed.follow(self._names.apply)
        if "proxy" in roles:
            rows = await start_the_spool(house, self._losses, lambda: self._line.tell("sealed"))
            self._certificates = await start_the_proxy(
                house,
                rows,
                RemoteSites(self._line),
                self._feed,
                MemoryCache(self._reactor),
                sockets=sockets,
                default=self._default,
                scan_seconds=SCAN_SECONDS,
                answers=self._answers,
            )
        if "nameserver" in roles:
            counts = Counts()
            self._misses = Misses(clock=self._reactor, again_seconds=self._pace.again_seconds)
            sink = RemoteCounts(self._line)
            reporter = CountReporter(counts, sink, clock=self._reactor, now=time.time)
            await house.run("the counts of DNS", reporter)
            await start_the_answers(
                house,
                self._feed,
                self._verdicts,
                counts,
                self._misses,
                sockets=sockets,
                processes=self._count,
                answers=self._answers,
            )

    async def _beat(self) -> None:
        house = self._house
        if house is None or self._line.lost:
            return
        samples = [list(sample) for sample in house.samples()]
        missed = [] if self._misses is None else self._misses.take(_MISSED_A_BEAT)
        self._line.tell("beat", samples, missed, of_losses(self._losses.take()))

    # --- the end ---

    def _alone(self) -> None:
        """The keeper is gone."""
        if self._ending:
            return
        if self._house is None or not self._serving:
            self._stop()
            return
        self._log.warn(
            "the keeper is gone; edge {number} goes on with what it knows", number=self._number
        )
        house = self._house
        directory = control_file(house.settings.node.data_dir, house.instance).parent
        try:
            self._waiting = Waiting(directory, self._pairs, self._stop, reactor=self._reactor)
        except OSError as error:
            self._log.error("no keeper will find this edge: {error}", error=str(error))

    def _stop(self) -> None:
        if not self._ending:
            self._ending = True
            self._reactor.stop()

    def end(self) -> Deferred[None]:
        """Let what is under way end. Called by the reactor, which stops after it."""
        self._ending = True
        return Deferred.fromCoroutine(self._end())

    async def _end(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
        if self._house is not None:
            await self._house.stop()
            await self._beats.stop()
            await self._beat()  # the last losses and names
        self._line.close()
