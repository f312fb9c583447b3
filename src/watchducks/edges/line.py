"""The line between the keeper and one edge: messages both ways over a local stream.

A message is JSON behind its length (32 bits). Its first item is what it is::

    ["tell", name, arguments]        something that happened; no answer
    ["ask", number, name, arguments] a question
    ["answer", number, value]        what came of it
    ["failed", number, kind, text]   why nothing came of it; ``kind`` names one of :data:`FAILURES`

Both ends are processes of one program and one user; a message that is none ends the line.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from watchducks.background import Overloaded, Tasks
from watchducks.stores.interfaces import StoreRefused, StoreUnavailable

# Counted up when messages change: an edge and a keeper of different formats do not work together.
FORMAT: Final = 1
# A page of 1,000 sites with zones of 100 records each is 10 MB; beyond this it can only be a fault.
MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
# For an answer: longer than the registry's own time limits.
ASK_SECONDS: Final = 15.0
# Questions that may be under way: what 100 coalesced look-ups and the reports need, ten times over.
MAX_ASKED: Final = 1_000

FAILURES: Final[Mapping[str, type[Exception]]] = {
    "unavailable": StoreUnavailable,
    "refused": StoreRefused,
    "overloaded": Overloaded,
}

# By the names of messages. One that was asked may return an awaitable of its answer.
Handlers = Mapping[str, Callable[..., Any]]


class Line(Int32StringReceiver):
    """One end.

    :ivar lost: whether the other end is gone.
    """

    MAX_LENGTH = MAX_MESSAGE_BYTES
    _log = Logger()

    def __init__(
        self, handlers: Handlers, on_lost: Callable[[], None], *, clock: IReactorTime
    ) -> None:
        """:param on_lost: called once, when the other end is gone."""
        self._handlers = handlers
        self._on_lost = on_lost
        self._clock = clock
        self._numbers = itertools.count(1)
        self._asked: dict[int, Deferred[Any]] = {}
        self._tasks = Tasks(self._log)
        self.lost = False

    def speak(self, end: socket.socket, *, reactor: Any) -> None:
        """Begin, over ``end``, which is this line's from now on."""
        with end:  # the reactor works on a copy
            end.setblocking(False)
            reactor.adoptStreamConnection(end.fileno(), end.family, _Only(self))

    def tell(self, name: str, *arguments: object) -> None:
        """Say that something happened; nothing happens if nobody is there."""
        if not self.lost:
            self._send(["tell", name, arguments])

    async def ask(self, name: str, *arguments: object) -> Any:
        """Return the answer.

        :raises StoreUnavailable: nobody is there, or he does not answer; and whatever else of
            :data:`FAILURES` came of it there.
        """
        if self.lost:
            raise StoreUnavailable("the keeper is away")
        if len(self._asked) >= MAX_ASKED:
            raise Overloaded(f"more than {MAX_ASKED} questions wait for the keeper")
        number = next(self._numbers)
        answer: Deferred[Any] = Deferred()
        self._asked[number] = answer
        _ = answer.addTimeout(ASK_SECONDS, self._clock, onTimeoutCancel=_too_late)
        self._send(["ask", number, name, arguments])
        try:
            return await answer
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Hang up, once all is sent."""
        if self.transport is not None:
            self.transport.loseConnection()

    def _send(self, message: list[object]) -> None:
        self.sendString(  # type: ignore[no-untyped-call]
            json.dumps(message, separators=(",", ":")).encode()
        )

    # --- from the other end ---

    def stringReceived(self, string: bytes) -> None:
        try:
            kind, *rest = json.loads(string)
            if kind == "tell":
                name, arguments = rest
                self._handlers[name](*arguments)
            elif kind == "ask":
                number, name, arguments = rest
                work = self._answer(number, self._handlers[name], arguments)
                self._tasks.start(work, f"answering {name}")
            else:
                self._answered(kind, *rest)
        except Exception:
            self._log.failure("a message from another process is none of ours")
            if self.transport is not None:
                self.transport.loseConnection()

    def lengthLimitExceeded(self, length: int) -> None:
        self._log.error("a message of {length} bytes from another process", length=length)
        super().lengthLimitExceeded(length)  # type: ignore[no-untyped-call]

    async def _answer(self, number: int, handler: Callable[..., Any], arguments: list[Any]) -> None:
        try:
            value = handler(*arguments)
            if isinstance(value, Awaitable):
                value = await value
            message = ["answer", number, value]
        except tuple(FAILURES.values()) as error:
            kind = next(name for name, type_ in FAILURES.items() if isinstance(error, type_))
            message = ["failed", number, kind, str(error)]
        if not self.lost:
            self._send(message)

    def _answered(self, kind: str, number: int, *rest: Any) -> None:
        answer = self._asked.pop(number, None)
        if answer is None or answer.called:
            return  # it came too late
        if kind == "answer":
            answer.callback(rest[0])
        else:
            failure, text = rest
            answer.errback(FAILURES[failure](text))

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        self.lost = True
        for answer in list(self._asked.values()):
            if not answer.called:
                answer.errback(StoreUnavailable("the keeper is away"))
        self._on_lost()


def _too_late(result: object, seconds: float) -> object:
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise StoreUnavailable(f"the keeper has not answered for {seconds:g} s")
    return result


class _Only(ServerFactory):
    """The factory of a single protocol."""

    noisy = False

    def __init__(self, line: Line) -> None:
        self._line = line

    def buildProtocol(self, addr: IAddress | None) -> Line:  # noqa: ARG002
        return self._line
