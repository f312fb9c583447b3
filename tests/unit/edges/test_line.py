"""The line between a keeper and an edge: both ends, joined without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from watchducks.background import Overloaded
from watchducks.edges import line as line_module
from watchducks.edges.line import ASK_SECONDS, Line
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable


def hear(line: Line, data: bytes) -> None:
    line.dataReceived(data)  # type: ignore[no-untyped-call]


class Ends:
    """:ivar one, other: what is said on the one is heard on the other, when told to."""

    def __init__(self, **handlers: Callable[..., Any]) -> None:
        self.clock = Clock()
        self.lost: list[str] = []
        self.one = Line({}, lambda: self.lost.append("one"), clock=self.clock)
        self.other = Line(handlers, lambda: self.lost.append("other"), clock=self.clock)
        self._transports = StringTransport(), StringTransport()
        self.one.makeConnection(self._transports[0])  # type: ignore[no-untyped-call]
        self.other.makeConnection(self._transports[1])  # type: ignore[no-untyped-call]

    def carry(self, piece: int = 1 << 20) -> None:
        """Bring what each said to the other, ``piece`` octets at a time."""
        for transport, listener in zip(self._transports, (self.other, self.one), strict=True):
            data = transport.value()
            transport.clear()
            for at in range(0, len(data), piece):
                hear(listener, data[at : at + piece])

    @property
    def hung_up(self) -> bool:
        return self._transports[1].disconnecting


def ask(ends: Ends, *what: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(ends.one.ask(*what))


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    _ = deferred.addBoth(found.append)
    assert found, "nothing came of it"
    return found[0]


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_what_is_told_is_heard_in_order(piece: int) -> None:
    heard: list[Any] = []
    ends = Ends(note=lambda *said: heard.append(said))
    ends.one.tell("note", 1, "오리")
    ends.one.tell("note", [None, 2.5], {"a": True})
    ends.carry(piece)
    assert heard == [(1, "오리"), ([None, 2.5], {"a": True})]


def test_questions_are_answered_each_by_its_own_answer() -> None:
    later: list[Deferred[int]] = [Deferred(), Deferred()]
    ends = Ends(double=lambda n: later[n])
    first, second = ask(ends, "double", 0), ask(ends, "double", 1)
    ends.carry()
    later[1].callback(20)
    later[0].callback(10)
    ends.carry()
    assert (result(first), result(second)) == (10, 20)


@pytest.mark.parametrize("error", [StoreUnavailable, StoreRefused, Overloaded])
def test_what_went_wrong_there_goes_wrong_here(error: type[Exception]) -> None:
    def fail() -> None:
        raise error("so it is")

    ends = Ends(fail=fail)
    asked = ask(ends, "fail")
    ends.carry()
    ends.carry()
    failure = result(asked)
    assert failure.type is error
    assert failure.getErrorMessage() == "so it is"


def test_an_answer_that_does_not_come_is_not_waited_for_for_ever() -> None:
    ends = Ends(never=Deferred)
    asked = ask(ends, "never")
    ends.carry()
    ends.clock.advance(ASK_SECONDS)
    assert result(asked).type is StoreUnavailable


def test_who_is_gone_answers_nothing() -> None:
    ends = Ends()
    asked = ask(ends, "anything")
    ends.one.connectionLost()
    assert result(asked).type is StoreUnavailable
    assert result(ask(ends, "anything")).type is StoreUnavailable
    ends.one.tell("note", 1)  # nothing happens
    assert ends.lost == ["one"]


def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends()
    asked = [ask(ends, "x") for _ in range(line_module.MAX_ASKED)]
    assert result(ask(ends, "x")).type is Overloaded
    ends.one.connectionLost()
    assert all(result(one).type is StoreUnavailable for one in asked)


@pytest.mark.parametrize(
    "message",
    [
        b"no JSON",
        b"{}",
        b"[]",
        json.dumps(["tell", "unknown", []]).encode(),
        json.dumps(["tell", "note"]).encode(),
        json.dumps(["ask", 1, "unknown", []]).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_message_ends_the_line(message: bytes) -> None:
    ends = Ends(note=lambda: None)
    hear(ends.other, len(message).to_bytes(4, "big") + message)
    assert ends.hung_up


def test_a_message_beyond_the_bound_ends_the_line_before_it_is_read() -> None:
    ends = Ends()
    hear(ends.other, (1 << 31).to_bytes(4, "big"))
    assert ends.hung_up
