"""The feed: follows the registry's revision and tells the other parts what changed.

Once a second, and at once when another process says so over the cache, it asks the registry how
far it is; :mod:`watchducks.registry.known` decides what to do about it. What is known is kept in a
file, so that a restart during an outage of the registry still serves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from watchducks.background import Overloaded, Repeating, StartupError, Tasks, Threads
from watchducks.model.changes import Apply, Changes, Head
from watchducks.registry.known import KnownSites
from watchducks.registry.snapshot import (
    Snapshot,
    SnapshotDamaged,
    read_snapshot,
    write_snapshot,
)
from watchducks.stores.interfaces import Cache, StoreUnavailable

# A site registered on another host works here after this, without any cache.
POLL_SECONDS: Final = 1.0
# A burst of registrations is written to the file once; a crash costs at most this of the file,
# and nothing of the registry.
SAVE_SECONDS: Final = 5.0
# Nor is it written for more than this share of the time: 100,000 sites are a second of a core, and
# are written once a minute at most.
SAVE_SHARE: Final = 1 / 50
# A new follower is told of so many at once: some 10 ms in which nobody is answered.
PAGE_SITES: Final = 1_000
# The cache's channel on which a writer says that there is a new revision.
REVISION_CHANNEL: Final = "watchducks:revision"
FILE_NAME: Final = "sites.json"


class RegistryHead(Protocol):
    """The part of the registry that the feed needs. Both may raise StoreUnavailable."""

    async def head(self) -> Head:
        """Return which registry this is, and its revision."""

    async def changes_since(self, revision: int) -> Changes:
        """Return the next changes after ``revision``, oldest first."""


class SiteFeed:
    """A Part. Follow it before it is started, or at any time later.

    :param cache: started before, and stopped after, this part.
    :param state_dir: where the last known sites are kept; made if it is missing.
    :param pool: for reading and writing that file; it belongs to the caller.
    """

    def __init__(
        self,
        registry: RegistryHead,
        cache: Cache,
        state_dir: Path,
        *,
        pool: Threads,
        clock: IReactorTime,
    ) -> None:
        self._log = Logger()
        self._registry = registry
        self._cache = cache
        self._path = state_dir / FILE_NAME
        self._pool = pool
        self._clock = clock
        self._known = KnownSites()
        self._followers: list[Apply] = []
        self._reachable = True
        self._saved = (self._known.lineage, self._known.revision)
        self._save_at = 0.0
        self._writing = threading.Lock()
        self._tasks = Tasks(self._log)
        self._polls = Repeating(
            self._poll, POLL_SECONDS, clock=clock, log=self._log, name="following the registry"
        )
        self._saves = Repeating(
            self._save_if_due,
            SAVE_SECONDS,
            clock=clock,
            log=self._log,
            name="keeping the known sites",
        )
        self._unsubscribe: Callable[[], None] = _not_subscribed

    @property
    def revision(self) -> int:
        """The registry's revision that the followers have."""
        return self._known.revision

    @property
    def lineage(self) -> str:
        """Of the registry that is followed; empty: none was ever reached."""
        return self._known.lineage

    @property
    def reachable(self) -> bool:
        """Whether the registry answered when it was last asked."""
        return self._reachable

    async def follow(self, apply: Apply) -> None:
        """Tell ``apply`` everything known, and each change from now on.

        What is known comes in pages, between which the reactor has its turns. A change that comes
        meanwhile is told at once, and what a page says of a zone is always the latest.
        """
        self._followers.append(apply)
        known = self._known
        zones = list(known.sites)
        for start in range(0, len(zones), PAGE_SITES):
            if start:
                await deferLater(self._clock, 0.0)
                if apply not in self._followers:
                    return
            page = (known.sites.get(zone) for zone in zones[start : start + PAGE_SITES])
            sites = tuple(site for site in page if site is not None)
            more = start + PAGE_SITES < len(zones)
            self._tell(apply, Changes(known.revision, sites, (), more=more))

    def unfollow(self, apply: Apply) -> None:
        """Tell ``apply`` nothing more; nothing happens if it does not follow."""
        if apply in self._followers:
            self._followers.remove(apply)

    def announce(self, revision: int) -> None:
        """Make this process and, through the cache, the others look at the registry at once.

        What the registry's writes of this process call (:meth:`Registry.on_write`).
        """
        self._polls.nudge()
        self._tasks.start(self._publish(revision), "announcing a revision")

    async def start(self) -> None:
        """Take over the last known sites, then the registry's, and follow it.

        :raises StartupError: the registry cannot be reached, and there are no last known sites.
        """
        restored = await self._restore()
        try:
            await self._catch_up()
        except StoreUnavailable as error:
            if not restored:
                raise StartupError(f"registry.url: {error}") from error
            self._reachable = False
            self._log.warn(
                "serving the {count} sites last known; the registry is away: {error}",
                count=len(self._known.sites),
                error=str(error),
            )
        self._unsubscribe = self._cache.subscribe(
            REVISION_CHANNEL, lambda _message: self._polls.nudge()
        )
        self._polls.start()
        self._saves.start()

    async def stop(self) -> None:
        """Stop following, and keep what is known."""
        self._unsubscribe()
        await self._tasks.stop()
        await self._polls.stop()
        await self._saves.stop()
        try:
            await self._save()
        except (OSError, Overloaded) as error:
            self._log.error("cannot keep the known sites: {error}", error=str(error))

    # --------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        try:
            await self._catch_up()
        except StoreUnavailable as error:
            if self._reachable:  # said once, not each second
                self._log.warn(
                    "serving the last known sites; the registry is away: {error}", error=str(error)
                )
            self._reachable = False
            return
        if not self._reachable:
            self._log.info("the registry is back")
        self._reachable = True

    async def _catch_up(self) -> None:
        position = self._known.next_from(await self._registry.head())
        while position is not None:
            changes = self._known.take(await self._registry.changes_since(position))
            for apply in self._followers:
                self._tell(apply, changes)
            position = changes.revision if changes.more else None

    def _tell(self, apply: Apply, changes: Changes) -> None:
        try:
            apply(changes)
        except Exception:  # the others must hear of it all the same
            self._log.failure("a follower failed at revision {revision}", revision=changes.revision)

    async def _publish(self, revision: int) -> None:
        try:
            await self._cache.publish(REVISION_CHANNEL, str(revision).encode())
        except StoreUnavailable as error:
            # The others see it when they next ask the registry.
            self._log.debug("the revision was not announced: {error}", error=str(error))

    async def _restore(self) -> bool:
        try:
            snapshot = await self._pool.run(_read, self._path)
        except SnapshotDamaged as error:
            self._log.error(
                "the last known sites in {path} are ignored: {error}",
                path=str(self._path),
                error=str(error),
            )
            return False
        except OSError as error:
            raise StartupError(
                f"node.data_dir: cannot make {self._path.parent}: {error.strerror}"
            ) from error
        if snapshot is None:
            return False
        self._known.restore(snapshot.lineage, snapshot.revision, snapshot.sites)
        self._saved = (snapshot.lineage, snapshot.revision)
        for apply in self._followers:
            self._tell(apply, Changes(snapshot.revision, tuple(snapshot.sites), (), more=False))
        return True

    async def _save_if_due(self) -> None:
        began = self._clock.seconds()
        if began >= self._save_at:
            await self._save()
            now = self._clock.seconds()
            self._save_at = now + (now - began) / SAVE_SHARE

    async def _save(self) -> None:
        known = self._known
        current = (known.lineage, known.revision)
        if current == self._saved or not known.complete:
            return
        snapshot = Snapshot(known.lineage, known.revision, list(known.sites.values()))
        await self._pool.run(self._write, snapshot)
        self._saved = current

    def _write(self, snapshot: Snapshot) -> None:
        # In a thread. Stopping cancels the wait for a write, not the write: the last one comes
        # after it.
        with self._writing:
            write_snapshot(self._path, snapshot)


def _not_subscribed() -> None:
    pass


def _read(path: Path) -> Snapshot | None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    return read_snapshot(path)
