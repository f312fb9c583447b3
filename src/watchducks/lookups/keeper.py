"""The part that has every new site's zone scanned once, and again on request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Overloaded, Repeating
from watchducks.lookups.together import attempt_all
from watchducks.model.scans import KeptScan, Scan
from watchducks.stores.interfaces import StoreUnavailable

# A registration in this process is noticed at once; this is for those of other hosts.
INTERVAL_SECONDS: Final = 60.0
# Scans at a time: the client has as many sockets as four need. A class of a hundred students that
# registers within a minute has its scans in two or three.
AT_ONCE: Final = 4
# Sites looked at in one turn, and scans that may be asked for and wait.
MAX_WAITING: Final = 100
# Only sites this young are scanned unasked: after an upgrade, or a long time without this part,
# thousands of zones that were changed over long ago would only tell that they are ours.
RECENT_SECONDS: Final = 7 * 86_400


class ScanStore(Protocol):
    """Where scans are kept: :class:`watchducks.registry.registry.Registry`, which says more.

    Every method may raise StoreUnavailable.
    """

    async def sites_without_scan(self, after: int, since: int, limit: int) -> list[tuple[int, str]]:
        """Return id and zone of sites to scan."""

    async def keep_scan(self, site_id: int, scan: Scan) -> bool:
        """Keep a scan; False: the site has left."""

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return what was kept."""

    def on_write(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` after each write of this process."""


class Scans(Protocol):
    """Scans a zone: :class:`watchducks.lookups.scan.Scanner`."""

    async def scan(self, zone: str) -> Scan:
        """Return what the zone holds at its present name servers."""


class ScanKeeper:
    """Scans new sites, a few at a time, and keeps what was found in the registry.

    Two hosts with this part may scan the same site; the later result stands, and is the same.
    """

    _log = Logger()

    def __init__(self, store: ScanStore, scanner: Scans, *, clock: IReactorTime) -> None:
        self._store = store
        self._scanner = scanner
        self._clock = clock
        # Sites up to this id have their scan, or failed to get one and are left alone.
        self._seen = 0
        # The first site whose scan could not be kept, to be made again in the next turn.
        self._lost: int | None = None
        self._requested: dict[int, str] = {}
        self._repeating = Repeating(
            self._work, INTERVAL_SECONDS, clock=clock, log=self._log, name="the scan of new sites"
        )
        store.on_write(lambda _: self._repeating.nudge())

    async def start(self) -> None:
        """Begin with the sites that have no scan yet."""
        self._repeating.start()

    async def stop(self) -> None:
        """Cancel the scans under way; they are made after the next start."""
        await self._repeating.stop()

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return the scan of a site; None: it is not made yet.

        :raises StoreUnavailable: nobody can tell.
        """
        return await self._store.scan(site_id)

    def request(self, site_id: int, zone: str) -> None:
        """Scan a site's zone again, soon. Asking again before it began changes nothing.

        :raises Overloaded: too many wait already.
        """
        if site_id not in self._requested and len(self._requested) >= MAX_WAITING:
            raise Overloaded(f"more than {MAX_WAITING} scans wait already")
        self._requested[site_id] = zone
        self._repeating.nudge()

    async def _work(self) -> None:
        """Scan until nobody waits: whoever comes while others are scanned is not left for later."""
        if self._lost is not None:
            self._seen, self._lost = min(self._seen, self._lost - 1), None
        while batch := await self._next():
            waiting = deque(batch)
            await attempt_all([self._scan_all(waiting) for _ in range(AT_ONCE)])

    async def _next(self) -> list[tuple[int, str]]:
        if self._requested:
            requested, self._requested = self._requested, {}
            return list(requested.items())
        since = int(self._clock.seconds()) - RECENT_SECONDS
        try:
            batch = await self._store.sites_without_scan(self._seen, since, MAX_WAITING)
        except StoreUnavailable:  # the feed of the registry says so already
            return []
        if batch:
            self._seen = batch[-1][0]
        return batch

    async def _scan_all(self, waiting: deque[tuple[int, str]]) -> None:
        while waiting:
            site_id, zone = waiting.popleft()
            scan = await self._scanner.scan(zone)
            try:
                before = await self._store.scan(site_id)
                if before is not None:
                    scan = scan.following(before.scan)
                await self._store.keep_scan(site_id, scan)
            except StoreUnavailable as error:
                self._lost = min(site_id, self._lost or site_id)
                self._log.warn("a scan of {zone} is lost: {error}", zone=zone, error=str(error))
            else:
                self._log.info(
                    "scanned {zone}: {records} records, {notes} notes",
                    zone=zone,
                    records=len(scan.records),
                    notes=len(scan.notes),
                )
