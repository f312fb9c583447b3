"""Shipments, read and prepared: what is in their files becomes the blocks of the log store.

The work is done in a thread, which alone uses what rows are enriched with.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Threads
from watchducks.journal.assets import AssetWatch
from watchducks.journal.enrich import days_of, enrich
from watchducks.journal.records import Decoded, decode
from watchducks.journal.segments import Segment, put_aside
from watchducks.journal.shipments import Loaded, Shipment
from watchducks.journal.sources import Knowledge
from watchducks.journal.visitors import KEY_BYTES, VisitorKeys, day_of

# A day's visitor key lives this much longer than the day. A request belongs to the day in which it
# ended, so this is for what lies in open segments yet: at most logs.flush_seconds, 300, of rows.
KEY_GRACE_US: Final = 600 * 1_000_000


class Loader:
    """Prepares shipments.

    :ivar rejected: segments that were put aside.
    """

    _log = Logger()

    def __init__(
        self,
        keys: VisitorKeys,
        knowledge: Knowledge,
        *,
        pool: Threads,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        """:param keys: of visitor ids; used by the pool's thread alone, as is ``knowledge``.

        :param now: POSIX seconds.
        """
        self._keys = keys
        self._knowledge = knowledge
        self._watch = AssetWatch()
        self._imported_keys: dict[int, bytes] = {}
        self._pool = pool
        self._clock = clock
        self._now = now
        self.rejected = 0

    async def load(self, shipment: Shipment) -> Loaded | None:
        """Return what the shipment holds, ready for the store; None if there is nothing to ship."""
        contents: dict[Segment, Decoded] = {}
        for segment in shipment.segments:
            try:
                contents[segment] = await self._pool.run(_read, segment)
            except FileNotFoundError:
                self._log.info("the segment {name} is gone", name=segment.name)
            except OSError as error:
                # It must not stand in the way of those behind it.
                self._log.error(
                    "cannot read the segment {name}, it is kept as .rejected: {error}",
                    name=segment.name,
                    error=str(error),
                )
                await self.reject(segment)
        return await self._pool.run(self._prepare, contents) if contents else None

    async def reject(self, segment: Segment) -> None:
        """Take a segment out of the line, and keep it for a person to look at."""
        self.rejected += 1
        await self._pool.run(put_aside, segment)

    async def destroy_keys(self) -> None:
        """Everything is shipped: the keys of past days have done their work."""
        await self._pool.run(self._destroy_keys)

    # --- in the pool's thread -----------------------------------------------------------------

    def _prepare(self, contents: Mapping[Segment, Decoded]) -> Loaded:
        shipment = Shipment(tuple(contents))
        self._knowledge.refresh(self._clock.seconds())
        days = {day for decoded in contents.values() for day in days_of(decoded)}
        named = [(segment.name, decoded) for segment, decoded in contents.items()]
        keys = self._keys_of(shipment, days)
        batches = enrich(named, keys, self._knowledge, self._watch)
        return Loaded(shipment, batches, {name: one.lost_bytes for name, one in named})

    def _keys_of(self, shipment: Shipment, days: Collection[int]) -> Mapping[int, bytes]:
        if not shipment.is_imported:
            return self._keys.keys_of(days)
        # Their days' keys are long destroyed: they have keys of their own, written down nowhere.
        for day in days:
            self._imported_keys.setdefault(day, secrets.token_bytes(KEY_BYTES))
        return self._imported_keys

    def _destroy_keys(self) -> None:
        self._imported_keys.clear()
        if self._keys.destroy_before(day_of(int(self._now() * 1e6) - KEY_GRACE_US)):
            self._knowledge.forget()


def _read(segment: Segment) -> Decoded:
    return decode(segment.path.read_bytes())
