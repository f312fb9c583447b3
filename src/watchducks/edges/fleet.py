"""The keeper's edges: started, watched, replaced, told what is new. The states of one::

(begin is sent) STARTING -> (it says that it listens) SERVING
  -> (it is told to end, another serves) LEAVING -> its line ends: forgotten
  STARTING or SERVING -> its line ends: another takes its place, after a while
  any -> (silent for too long) killed, so that its line ends
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import Repeating, StartupError, Tasks
from watchducks.edges.backoff import Backoff
from watchducks.edges.line import FORMAT, Handlers, Line
from watchducks.edges.messages import of_changes, read_losses, read_samples
from watchducks.edges.nursery import Nursery
from watchducks.edges.orphans import Pairs
from watchducks.journal.losses import Loss
from watchducks.model.changes import Apply, Changes
from watchducks.model.metrics import Sample

# An edge that is told everything has to listen within this: 100,000 sites take it 5 s.
START_SECONDS: Final = 30.0
# A sign of life comes every two seconds; one that gives none for so long hangs. Longer than what
# any turn of a reactor may take, shorter than visitors wait.
SILENCE_SECONDS: Final = 15.0
# Beyond `node.drain_seconds`, for what an edge has to do after its last visitor.
END_SECONDS: Final = 10.0
# An edge that is killed is gone in milliseconds.
KILL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05


class Feed(Protocol):
    """The part of the registry's feed that edges need: see
    :class:`watchducks.registry.feed.SiteFeed`."""

    @property
    def lineage(self) -> str: ...
    async def follow(self, apply: Apply) -> None: ...
    def unfollow(self, apply: Apply) -> None: ...


class Services(Protocol):
    """What edges ask the keeper, and what they tell him. The calls may raise StoreUnavailable,
    StoreRefused and Overloaded."""

    def handlers(self) -> Handlers: ...
    def lost(self, losses: Mapping[int, Loss]) -> None: ...
    def missed(self, names: Iterable[tuple[str, str]]) -> None: ...


class State(Enum):
    STARTING = auto()
    SERVING = auto()
    LEAVING = auto()


@dataclass(eq=False)
class Edge:
    """One edge process, as the keeper sees it.

    :ivar pid: 0: it has not said yet. :ivar heard: when it last gave a sign of life, seconds.
    """

    number: int
    began: float
    heard: float
    state: State = State.STARTING
    pid: int = 0
    line: Line | None = None
    failure: str = ""
    follower: Apply | None = None

    def __post_init__(self) -> None:
        self.serving: Deferred[None] = Deferred()
        self.samples: list[Sample] = []


class Fleet:
    """All edges. A Part."""

    _log = Logger()

    def __init__(
        self,
        count: int,
        document: Mapping[str, Any],
        instance: str,
        pairs_of: Callable[[int], Pairs],
        feed: Feed,
        services: Services,
        *,
        drain_seconds: float,
        reactor: Any,
        nursery: Nursery | None = None,
    ) -> None:
        """:param document: the configuration that edges begin with.
        :param instance: see :class:`watchducks.appliance.house.House`.
        :param pairs_of: number -> what this edge listens on, with its texts.
        """
        self._count = count
        self._document = document
        self._instance = instance
        self._pairs_of = pairs_of
        self._feed = feed
        self._services = services
        self._drain_seconds = drain_seconds
        self._reactor = reactor
        self._nursery = nursery or Nursery(reactor=reactor)
        self._edges: set[Edge] = set()
        self._backoffs = [Backoff()] * count
        self._retries: dict[int, IDelayedCall] = {}
        self._board: dict[str, object] = {}
        self._tasks = Tasks(self._log)
        self._watch = Repeating(
            self._look, 1.0, clock=reactor, log=self._log, name="watching the edges"
        )
        self._stopping = False

    # --- what is known of them ---

    @property
    def serving(self) -> int:
        """How many take visitors now."""
        return len([edge for edge in self._edges if edge.state is State.SERVING])

    @property
    def pids(self) -> list[int]:
        """Of those that serve, by number."""
        serving = (edge for edge in self._edges if edge.state is State.SERVING)
        return [edge.pid for edge in sorted(serving, key=lambda edge: edge.number)]

    def complete(self) -> bool:
        """Return whether every edge serves."""
        return self.serving >= self._count

    def samples(self) -> Iterable[Sample]:
        """Return what the edges last measured."""
        for edge in self._edges:
            yield from edge.samples

    def post(self, name: str, value: object) -> None:
        """Make every edge know ``value`` under ``name``, those that are still to come included."""
        self._board[name] = value
        for edge in self._edges:
            if edge.line is not None:
                edge.line.tell("board", name, value)

    # --- beginning and end ---

    async def start(self) -> None:
        """Start all edges and wait until they listen.

        :raises StartupError: one of them does not.
        """
        edges = [self._begin(number) for number in range(self._count)]
        try:
            for edge in edges:
                await self._listens(edge)
        except StartupError:
            await self.stop()
            raise
        self._watch.start()
        self._log.info("{count} edges serve: {pids}", count=self._count, pids=self.pids)

    async def stop(self) -> None:
        """Let all edges end what is under way; what does not end is killed."""
        self._stopping = True
        await self._watch.stop()
        for call in self._retries.values():
            call.cancel()
        self._retries.clear()
        await self._tasks.stop()
        for edge in list(self._edges):
            self._leave(edge)
        await self._until(lambda: not self._edges, self._drain_seconds + END_SECONDS)
        for edge in self._edges:
            self._kill(edge, "does not end")
        await self._until(lambda: not self._edges, KILL_SECONDS)
        self._nursery.stop()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        until = self._reactor.seconds() + seconds
        while not condition() and self._reactor.seconds() < until:
            await deferLater(self._reactor, _POLL_SECONDS)

    async def replace_all(self, document: Mapping[str, Any], drain_seconds: float) -> None:
        """Replace the edges one by one by those of another configuration.

        :raises StartupError: the first that does not listen; those before it are of the new
            configuration, and so is whoever comes next only if it was not the first.
        """
        before, self._document = self._document, document
        self._drain_seconds = drain_seconds
        for number in range(self._count):
            old = self._of_number(number)
            edge = self._begin(number)
            try:
                await self._listens(edge)
            except StartupError:
                if number == 0:
                    self._document = before
                edge.state = State.LEAVING
                self._kill(edge, "is of no use")
                raise
            for one in old:
                self._leave(one)

    def _of_number(self, number: int) -> list[Edge]:
        """Return who is, or is about to be, the edge of a number."""
        return [
            edge
            for edge in self._edges
            if edge.number == number and edge.state is not State.LEAVING
        ]

    # --- one edge ---

    def _begin(self, number: int) -> Edge:
        now = self._reactor.seconds()
        edge = Edge(number, now, now)
        self._edges.add(edge)
        try:
            ours = self._nursery.raise_edge(number, self._pairs_of(number))
        except OSError as error:
            edge.failure = f"it cannot be forked: {error}"
            self._reactor.callLater(0, self._gone, edge)
            return edge
        handlers: dict[str, Callable[..., Any]] = {
            **self._services.handlers(),
            "hello": lambda pid: self._hello(edge, pid),
            "serving": lambda: self._serves(edge),
            "failed": lambda text: setattr(edge, "failure", text),
            "beat": lambda *said: self._beat(edge, *said),
        }
        line = edge.line = Line(handlers, lambda: self._gone(edge), clock=self._reactor)
        line.speak(ours, reactor=self._reactor)
        line.tell("begin", FORMAT, self._count, self._instance, self._document)
        for name, value in self._board.items():
            line.tell("board", name, value)
        self._tasks.start(self._tell_sites(edge, line), f"telling edge {number} all sites")
        return edge

    async def _tell_sites(self, edge: Edge, line: Line) -> None:
        def apply(changes: Changes) -> None:
            line.tell("sites", self._feed.lineage, *of_changes(changes))

        edge.follower = apply
        await self._feed.follow(apply)
        line.tell("complete")

    async def _listens(self, edge: Edge) -> None:
        """Wait until an edge serves. :raises StartupError: it does not."""
        waiting = edge.serving
        _ = waiting.addTimeout(START_SECONDS, self._reactor)
        try:
            await waiting  # for the word, whichever it is
        except DeferredTimeout:
            edge.failure = f"edge {edge.number} does not listen after {START_SECONDS:g} s"
        if edge.state is not State.SERVING:
            raise StartupError(edge.failure or f"edge {edge.number} ended before it listened")

    def _hello(self, edge: Edge, pid: int) -> None:
        edge.pid = pid
        edge.heard = self._reactor.seconds()

    def _serves(self, edge: Edge) -> None:
        edge.state = State.SERVING
        edge.heard = self._reactor.seconds()
        if not edge.serving.called:
            edge.serving.callback(None)

    def _beat(self, edge: Edge, samples: list[Any], missed: list[Any], losses: list[Any]) -> None:
        edge.heard = self._reactor.seconds()
        edge.samples = read_samples(samples, f"edge-{edge.number}")
        for site, loss in read_losses(losses):
            self._services.lost({site: loss})
        self._services.missed((zone, name) for zone, name in missed)

    def _leave(self, edge: Edge) -> None:
        edge.state = State.LEAVING
        if edge.line is not None:
            edge.line.tell("end")

    def _kill(self, edge: Edge, why: str) -> None:
        line = edge.line
        if line is None or line.lost:
            return  # it is dead already
        self._log.error(
            "edge {number} (process {pid}) {why}: killed",
            number=edge.number,
            pid=edge.pid,
            why=why,
        )
        if not edge.pid:
            line.close()  # it has not said yet who it is, and ends without us
            return
        # While its line is open it lives, and its process id is nobody else's.
        with contextlib.suppress(ProcessLookupError):
            os.kill(edge.pid, signal.SIGKILL)

    async def _look(self) -> None:
        now = self._reactor.seconds()
        for edge in list(self._edges):
            if edge.state is not State.LEAVING and now - edge.heard > max(
                SILENCE_SECONDS, START_SECONDS if edge.state is State.STARTING else 0
            ):
                edge.heard = now
                self._kill(edge, "has given no sign of life for too long")

    def _gone(self, edge: Edge) -> None:
        """Its line has ended: it is dead, or as good as."""
        self._edges.discard(edge)
        if edge.follower is not None:
            self._feed.unfollow(edge.follower)
        was, edge.state = edge.state, State.LEAVING
        if not edge.serving.called:
            edge.serving.callback(None)
        if self._stopping or was is State.LEAVING:
            return
        lived = self._reactor.seconds() - edge.began
        backoff = self._backoffs[edge.number] = self._backoffs[edge.number].after(lived)
        report = self._log.error if backoff.keeps_dying else self._log.warn
        report(
            "edge {number} (process {pid}) died after {lived} s{again}; the next begins in"
            " {seconds} s{failure}",
            number=edge.number,
            pid=edge.pid,
            lived=round(lived, 1),
            again=f", {backoff.deaths} times in a row now" if backoff.deaths > 1 else "",
            seconds=round(backoff.seconds, 1),
            failure=f": {edge.failure}" if edge.failure else "",
        )
        if not self._of_number(edge.number) and edge.number not in self._retries:
            self._retries[edge.number] = self._reactor.callLater(
                backoff.seconds, self._again, edge.number
            )

    def _again(self, number: int) -> None:
        self._retries.pop(number, None)
        if not self._of_number(number):
            self._begin(number)
