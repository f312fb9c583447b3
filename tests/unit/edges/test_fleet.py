"""The keeper's edges, with processes that are only pretended."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.unit.registry.examples import example_site
from watchducks.background import StartupError
from watchducks.edges.fleet import SILENCE_SECONDS, START_SECONDS, Fleet
from watchducks.edges.line import FORMAT, Line
from watchducks.journal.losses import Loss
from watchducks.model.changes import Apply, Changes


class Pretended:
    """One edge's end of its line."""

    def __init__(self, number: int, reactor: Pretending) -> None:
        self.number = number
        self.told: list[Any] = []
        names = ("begin", "board", "sites", "complete", "end")
        handlers: dict[str, Callable[..., None]] = {name: self._teller(name) for name in names}
        self.line = Line(handlers, lambda: None, clock=reactor)
        self.keeper: Any = None

    def _teller(self, name: str) -> Callable[..., None]:
        return lambda *said: self.told.append((name, *said))

    def heard(self, name: str) -> list[Any]:
        return [said for said in self.told if said[0] == name]

    def serve(self) -> None:
        self.line.tell("hello", 2**30 + self.number)  # more than any process has
        self.line.tell("serving")

    def die(self) -> None:
        self.line.connectionLost()
        self.keeper.connectionLost()


class Joined:
    """A transport that brings what is written to the other end at once."""

    def __init__(self, to: Line, hang_up: Callable[[], None]) -> None:
        self._to = to
        self._hang_up = hang_up
        self.disconnecting = False

    def write(self, data: bytes) -> None:
        if not self._to.lost:
            self._to.dataReceived(data)  # type: ignore[no-untyped-call]

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._hang_up()


class Pretending(Clock):
    """A reactor, and a nursery, without any process."""

    def __init__(self) -> None:
        super().__init__()
        self.edges: list[Pretended] = []
        self.broken = False

    # the nursery

    def raise_edge(self, number: int, _pairs: object) -> socket.socket:
        if self.broken:
            raise BrokenPipeError("no nursery")
        self.edges.append(Pretended(number, self))
        ours, its = socket.socketpair()
        its.close()
        return ours

    def stop(self) -> None:
        """There is nothing to stop."""

    # the reactor

    def adoptStreamConnection(self, _fd: int, _family: object, factory: Any) -> None:
        edge, keeper = self.edges[-1], factory.buildProtocol(None)
        edge.keeper = keeper
        edge.line.makeConnection(Joined(keeper, edge.die))  # type: ignore[no-untyped-call]
        keeper.makeConnection(Joined(edge.line, edge.die))


class Keeps:
    """Feed and services."""

    lineage = "first"

    def __init__(self) -> None:
        self.followers: list[Apply] = []
        self.losses: list[Mapping[int, Loss]] = []
        self.names: list[tuple[str, str]] = []

    async def follow(self, apply: Apply) -> None:
        self.followers.append(apply)
        apply(Changes(1, (example_site("a.example"),), (), more=False))

    def unfollow(self, apply: Apply) -> None:
        self.followers.remove(apply)

    def handlers(self) -> dict[str, Callable[..., Any]]:
        return {}

    def lost(self, losses: Mapping[int, Loss]) -> None:
        self.losses.append(losses)

    def missed(self, names: Any) -> None:
        self.names += names


class World:
    def __init__(self, count: int = 2) -> None:
        self.reactor = Pretending()
        self.keeps = Keeps()
        self.fleet = Fleet(
            count,
            {"node": {}},
            "blue",
            lambda _number: [],
            self.keeps,
            self.keeps,
            drain_seconds=5.0,
            reactor=self.reactor,
            nursery=self.reactor,  # type: ignore[arg-type]
        )

    def started(self) -> World:
        starting = Deferred.fromCoroutine(self.fleet.start())
        for edge in self.reactor.edges:
            edge.serve()
        assert starting.called
        return self

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.reactor.advance(0.1)

    def beat(self) -> None:
        for edge in self.reactor.edges:
            edge.line.tell("beat", [], [], [])


@pytest.fixture
def world() -> Iterator[World]:
    made = World().started()
    yield made
    stopping = Deferred.fromCoroutine(made.fleet.stop())
    for edge in made.reactor.edges:
        if not edge.line.lost:
            edge.die()
    made.pass_time(20)
    assert stopping.called


def test_an_edge_is_told_everything_in_order(world: World) -> None:
    told = [said[0] for said in world.reactor.edges[0].told]
    assert told == ["begin", "sites", "complete"]
    assert world.reactor.edges[0].told[0] == ("begin", FORMAT, 2, "blue", {"node": {}})
    world.fleet.post("verdicts", [1])
    for apply in list(world.keeps.followers):
        apply(Changes(2, (), ("a.example",), more=False))
    for edge in world.reactor.edges:
        assert edge.told[-2:] == [
            ("board", "verdicts", [1]),
            ("sites", "first", 2, [], ["a.example"], False),
        ]
    assert world.fleet.complete()


def test_one_that_dies_is_replaced_soon_and_one_that_keeps_dying_later_and_later(
    world: World,
) -> None:
    world.fleet.post("verdicts", [1])
    waits = []
    for _ in range(4):
        last = [edge for edge in world.reactor.edges if edge.number == 0][-1]
        known = len(world.reactor.edges)
        last.die()
        assert not world.fleet.complete()
        waited = 0
        while len(world.reactor.edges) == known:
            world.reactor.advance(0.1)
            waited += 1
        waits.append(waited)
        assert world.reactor.edges[-1].heard("board") == [("board", "verdicts", [1])]
        world.reactor.edges[-1].serve()
        assert world.fleet.complete()
    assert [round(wait / first) for wait, first in zip(waits, (1, 2, 4, 8), strict=True)] == [1] * 4
    assert len(world.keeps.followers) == 2, "the dead are told nothing more"


def test_one_that_cannot_be_forked_is_tried_again(world: World) -> None:
    world.reactor.broken = True
    world.reactor.edges[0].die()
    world.pass_time(1)
    world.reactor.broken = False
    world.pass_time(5)
    world.reactor.edges[-1].serve()
    assert world.fleet.complete()


def test_losses_and_missed_names_are_passed_on_once(world: World) -> None:
    edge = world.reactor.edges[0]
    edge.line.tell("beat", [], [["a.example", "old"]], [[1, 5, 100, 110]])
    edge.line.tell("beat", [], [], [[1, 2, 115, 120], [1, 1, 4000, 4000]])
    assert [dict(losses) for losses in world.keeps.losses] == [
        {1: Loss(5, 100, 110)},
        {1: Loss(2, 115, 120)},
        {1: Loss(1, 4000, 4000)},
    ]
    assert world.keeps.names == [("a.example", "old")]


def test_a_new_configuration_goes_from_one_to_the_next(world: World) -> None:
    old = list(world.reactor.edges)
    replacing = Deferred.fromCoroutine(world.fleet.replace_all({"node": {"name": "b"}}, 1.0))
    assert len(world.reactor.edges) == 3
    assert not old[0].heard("end"), "it serves until the new one does"
    world.reactor.edges[2].serve()
    assert old[0].heard("end")
    assert not old[1].heard("end")
    old[0].die()
    world.reactor.edges[3].serve()
    old[1].die()
    assert replacing.called
    assert world.reactor.edges[3].told[0][-1] == {"node": {"name": "b"}}
    world.pass_time(1)
    assert len(world.reactor.edges) == 4, "who was told to end is not replaced"


def test_a_configuration_that_no_edge_can_serve_changes_nothing(world: World) -> None:
    replacing = Deferred.fromCoroutine(world.fleet.replace_all({"bad": {}}, 1.0))
    failed = world.reactor.edges[-1]
    failed.line.tell("failed", "proxy.http: tcp:1: in use")
    failed.die()
    found: list[Any] = []
    _ = replacing.addErrback(found.append)
    assert found[0].type is StartupError
    assert "tcp:1: in use" in found[0].getErrorMessage()
    assert not any(edge.heard("end") for edge in world.reactor.edges)
    assert world.fleet.complete()
    # And whoever comes next is as before.
    world.reactor.edges[0].die()
    world.pass_time(1)
    assert world.reactor.edges[-1].told[0][-1] == {"node": {}}
    world.reactor.edges[-1].serve()


def test_one_that_gives_no_sign_of_life_is_given_up(world: World) -> None:
    silent = world.reactor.edges[0]
    world.pass_time(SILENCE_SECONDS - 2)
    world.reactor.edges[1].line.tell("beat", [], [], [])
    world.pass_time(START_SECONDS)
    # Its process is nobody's, so the kill goes nowhere; another one would have ended its line.
    silent.die()
    world.pass_time(1)
    assert len(world.reactor.edges) > 2


def test_a_start_that_fails_says_why_and_leaves_nothing() -> None:
    world = World()
    starting = Deferred.fromCoroutine(world.fleet.start())
    world.reactor.edges[0].serve()
    world.reactor.edges[1].line.tell("failed", "nameserver.listen: udp:53: in use")
    found: list[Any] = []
    _ = starting.addErrback(found.append)
    world.reactor.edges[1].die()
    assert world.reactor.edges[0].heard("end")
    world.reactor.edges[0].die()
    world.pass_time(20)
    assert found[0].type is StartupError
    assert found[0].getErrorMessage() == "nameserver.listen: udp:53: in use"
