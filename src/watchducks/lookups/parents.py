"""The DS records that a zone's parent has, for those who wait for them to change."""

from __future__ import annotations

from typing import Final, Protocol

import dns.exception
import dns.name
from dns.name import Name
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.lookups.client import LookupFailed
from watchducks.lookups.servers import Delegation
from watchducks.lookups.together import within

# Somebody may be waiting for the answer, with a command that gives up after ten.
ASK_SECONDS: Final = 5.0


class Delegations(Protocol):
    """What parents say of zones: :class:`watchducks.lookups.servers.Directory`."""

    async def delegation(self, zone: Name) -> Delegation:
        """Return what the parent of ``zone`` says of it. :raises LookupFailed: it cannot."""


class Parents:
    """Asks the servers of a zone's parent."""

    _log = Logger()

    def __init__(self, directory: Delegations, *, clock: IReactorTime) -> None:
        self._directory = directory
        self._clock = clock

    async def ds_of(self, zone: str) -> tuple[str, ...] | None:
        """Return the DS records that the parent of ``zone`` (A-labels) has now, as zone files write
        their data; None: it could not be asked within :data:`ASK_SECONDS`."""
        try:
            delegation = await within(
                ASK_SECONDS,
                self._directory.delegation(dns.name.from_text(zone)),
                f"asking for the DS of {zone}",
                clock=self._clock,
            )
        except (LookupFailed, dns.exception.DNSException) as error:
            self._log.debug("the DS of {zone} is not known: {error}", zone=zone, error=str(error))
            return None
        return delegation.ds
