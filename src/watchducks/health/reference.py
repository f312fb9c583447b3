"""Whether our own network works: asked when every proxy seems to be gone at once.

A name server that is cut off sees each proxy fail. Telling its visitors (those that still reach it)
to go round the proxies would be wrong, so it keeps its last verdicts then. It knows that it is cut
off when something else that used to answer, a *reference*, does not answer either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Protocol as StreamProtocol

from watchducks.background import together
from watchducks.dialing import dial
from watchducks.model.origins import Address

# A connection to a resolver nearby takes milliseconds; a verdict must not wait for longer.
CONNECT_SECONDS: Final = 1.0


class Reference(Protocol):
    """Something outside the proxies that answers as long as our network works."""

    async def answers(self) -> bool:
        """Whether it answers, within a second or so. Never raises but for a cancellation."""


class TcpReferences:
    """Any of several addresses that accepts a connection."""

    def __init__(self, addresses: Sequence[tuple[Address, int]], *, reactor: Any) -> None:
        """:param addresses: with their ports; the recursive resolvers, for instance."""
        self._addresses = tuple(addresses)
        self._reactor = reactor

    async def answers(self) -> bool:
        """See :meth:`Reference.answers`; none at all never answers."""
        try:
            _ = await together(self._refuses(address, port) for address, port in self._addresses)
        except _Answers:
            return True
        return False

    async def _refuses(self, address: Address, port: int) -> None:
        """Return when there is no connection. :raises _Answers: there is one."""
        endpoint = HostnameEndpoint(self._reactor, str(address), port, CONNECT_SECONDS)
        try:
            protocol = await dial(endpoint, StreamProtocol())
        except CancelledError:
            raise
        except Exception:  # however it fails, nobody answered
            return
        if protocol.transport is not None:
            protocol.transport.loseConnection()
        raise _Answers


class _Answers(Exception):
    """The first one is enough: ends the wait for the others."""
