"""Connecting a protocol that is there already, without a word in the log."""

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory

P = TypeVar("P", bound=IProtocol)


async def dial(endpoint: IStreamClientEndpoint, protocol: P) -> P:
    """Connect and return ``protocol``.

    :func:`twisted.internet.endpoints.connectProtocol` does the same and logs two lines for each
    connection, which for a probe every second would be most of the log.

    :raises ConnectError: nobody answers; cancelling it gives up.
    """
    return await endpoint.connect(_Once(protocol))  # type: ignore[return-value]


class _Once(Factory):
    noisy = False

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, _address: object) -> Any:
        return self._protocol
