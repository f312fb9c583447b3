"""The keys of visitors' ids, shared by all hosts of a registry: so that whoever is seen by two
proxies on one day counts once.

Each UTC day has one, made by the host that needs it first, sealed like all secrets here, and
deleted when the day is over. What a host has still to ship of that day it ships with its own copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection, delete, insert, select

from watchducks.model.seals import SealError
from watchducks.registry.registry import Registry
from watchducks.registry.schema import visitor_keys
from watchducks.registry.sealing import Sealer
from watchducks.registry.statements import lock
from watchducks.stores.interfaces import StoreUnavailable

_DAY_SECONDS: Final = 86_400
# Clocks of hosts may differ, and a request belongs to the day in which it began.
GRACE_SECONDS: Final = 3600


class SharedVisitorKeys:
    """For any number of hosts at a time.

    :param makes_key_file: this host may make ``security.key_file`` if it is missing. One that
        shares its registry must not: it would make another one than the others have.
    :param now: POSIX seconds.
    """

    def __init__(
        self,
        registry: Registry,
        sealer: Sealer,
        *,
        makes_key_file: bool,
        now: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._sealer = sealer
        self._makes_key_file = makes_key_file
        self._now = now

    async def agree(self, day: int, proposal: bytes) -> bytes:
        """Return the key of a day: ``proposal``, unless another host was first.

        :raises StoreUnavailable: the registry is away, or the key file is missing or another one.
        """
        found = await self._registry.read(lambda connection: self._opened(connection, day))
        if found is None:
            found = await self._registry.write(
                lambda connection: self._agreed(connection, day, proposal)
            )
        # Not raised in there: a host without key file is no failure of the registry.
        if isinstance(found, SealError):
            raise StoreUnavailable(str(found)) from found
        return found

    # --- in the registry's threads --------------------------------------------------------------

    def _opened(self, connection: Connection, day: int) -> bytes | SealError | None:
        """Return a day's key; None: there is none."""
        sealed: bytes | None = connection.execute(
            select(visitor_keys.c.sealed).where(visitor_keys.c.day == day)
        ).scalar()
        if sealed is None:
            return None
        try:
            if not self._sealer.loaded:
                self._sealer.load()
            return self._sealer.unseal(sealed, _context(day))
        except SealError as error:
            return error

    def _agreed(self, connection: Connection, day: int, proposal: bytes) -> bytes | SealError:
        lock(connection)
        found = self._opened(connection, day)
        if found is not None:
            return found
        try:
            if not self._sealer.loaded and not self._makes_key_file:
                self._sealer.load()
            sealed = self._sealer.seal(proposal, _context(day))
        except SealError as error:
            return error
        today = int(self._now() - GRACE_SECONDS) // _DAY_SECONDS
        connection.execute(delete(visitor_keys).where(visitor_keys.c.day < today))
        connection.execute(insert(visitor_keys).values(day=day, sealed=sealed))
        return proposal


def _context(day: int) -> bytes:
    return b"watchducks visitor key %d" % day
