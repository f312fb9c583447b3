"""The registry: register, find, list, change and remove sites; follow the revision.

Each method is one call into the store's thread pool and one transaction. The SQL itself is in
:mod:`watchducks.registry.finding` and :mod:`watchducks.registry.statements`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from sqlalchemy import Connection
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import StartupError
from watchducks.model import cutover
from watchducks.model.accounts import (
    ANYBODY,
    APPLIANCE,
    USED_SECONDS,
    Act,
    Actor,
    Entry,
    Viewer,
)
from watchducks.model.certificates import CertificateProgress
from watchducks.model.changes import Changes, Head
from watchducks.model.cutover import CutoverRules, Look, SiteCutover
from watchducks.model.names import name_key
from watchducks.model.scans import KeptScan, Scan
from watchducks.model.seals import SealError
from watchducks.model.sites import Registration, Site
from watchducks.model.zones import Record, ZoneContents
from watchducks.registry import accounts, audit, cutovers, finding, scans, sealed_with, statements
from watchducks.registry.dump import dump, load
from watchducks.registry.keys import KeyStep, ZoneKeys
from watchducks.registry.migrations import is_current, migrate
from watchducks.registry.registration import SiteChanges
from watchducks.registry.sealing import Sealer
from watchducks.registry.statements import Conflict, RevisionChanged, SiteNotFound
from watchducks.stores.interfaces import StoreUnavailable
from watchducks.stores.sql import SqlStore

__all__ = ["Conflict", "Registry", "RevisionChanged", "SiteNotFound"]

T = TypeVar("T")

# A page of a list: as many rows as a person scrolls through, and the most a program may ask for.
PAGE_SITES: Final = 100
MAX_PAGE_SITES: Final = 1000
# A page of changes: some 300 kB in memory, and a few milliseconds of the reactor to apply.
PAGE_CHANGES: Final = 1000
# 256 bits: guessing is out of the question, so a fast hash is enough to keep them.
TOKEN_BYTES: Final = 32
# Makes a leaked token recognisable, to people and to secret scanners.
TOKEN_PREFIX: Final = "wd_"  # noqa: S105


class Registry:
    """The sites and their owners.

    Every method may raise :class:`StoreUnavailable`. A writer that is cancelled (the browser left)
    may have written nevertheless.

    :param clock: gives the time of registration.
    :param keys: of the zones that are signed.
    :param rules: what counts before a site's zone is delegated to us.
    :param drill_seconds: how long a drill lasts.
    :param sealer: what seals for this registry, of which all hosts must have the same key.
    """

    def __init__(
        self,
        store: SqlStore,
        *,
        clock: IReactorTime,
        keys: ZoneKeys,
        rules: CutoverRules | None = None,
        sealer: Sealer | None = None,
        drill_seconds: int = cutover.DRILL_SECONDS,
    ) -> None:
        self._log = Logger()
        self._store = store
        self._clock = clock
        self._keys = keys
        self._rules = rules or CutoverRules()
        self._sealer = sealer
        self._drill_seconds = drill_seconds
        self._migrated = False
        self._on_write: list[Callable[[int], None]] = []

    def on_write(self, listener: Callable[[int], None]) -> None:
        """Call ``listener(revision)`` on the reactor's thread after each write of this process."""
        self._on_write.append(listener)

    async def start(self) -> None:
        """Start the store and bring the tables up to date.

        A database that cannot be reached is no error here: the tables are looked after before the
        first call that reaches it. Whether to go on without it is the feed's decision.

        :raises StartupError: the database is of a newer version, or its file cannot be made.
        """
        await self._store.start()
        try:
            await self._migrate()
            await self._agree()
        except StoreUnavailable as error:
            self._log.warn("the registry is not there yet: {error}", error=str(error))

    async def stop(self) -> None:
        """Close the connections."""
        await self._store.stop()

    async def dump(self) -> list[str]:
        """Return all it holds, of one moment; see :mod:`watchducks.registry.dump`."""
        return await self._read(lambda connection: list(dump(connection)))

    async def load(self, lines: Sequence[str]) -> int:
        """Fill it, which is empty, with what :meth:`dump` returned; return how many rows it has.

        :raises DumpError: it is not empty, or the lines are of another schema.
        """
        return await self._write(lambda connection: load(connection, lines))

    # --- sites ----------------------------------------------------------------------------------

    async def register(
        self, registration: Registration, *, by: Actor = APPLIANCE
    ) -> tuple[Site, str]:
        """Add a site; returns it with its owner's token, which is shown once and kept nowhere.

        :param by: who does it, here and below.
        :raises Conflict: the name or the domain is registered already.
        """
        token = new_token()
        now = int(self._clock.seconds())

        def write(connection: Connection) -> Site:
            digest = digest_of(token)
            site = statements.register(connection, registration, digest, now, self._rules)
            details = {"domain": site.domain, "origin": str(site.origin)}
            audit.keep(connection, by, Act.REGISTERED, now, site=site, details=details)
            return site

        site = await self._write(write)
        self._written(site.revision)
        return site, token

    async def update(self, name: str, changes: SiteChanges, *, by: Actor = APPLIANCE) -> Site:
        """Change a site and return it as it is now; what changes nothing makes no revision.

        :raises SiteNotFound: there is no such site.
        :raises InvalidFields: the changes do not fit what the site has already.
        """
        return await self._change(
            name,
            Act.CHANGED,
            by,
            lambda connection, key: statements.update(
                connection,
                key,
                changes,
                self._keys,
                int(self._clock.seconds()),
                self._drill_seconds,
            ),
        )

    async def suspend(self, name: str, *, suspended: bool, by: Actor = APPLIANCE) -> Site | None:
        """Have DNS answer with a site's origin until it is resumed, or resume it; returns the site,
        None if there is no such site."""
        now = int(self._clock.seconds())
        try:
            return await self._change(
                name,
                Act.SUSPENDED,
                by,
                lambda connection, key: statements.suspend(
                    connection, key, now, suspended=suspended
                ),
            )
        except SiteNotFound:
            return None

    async def keep_contents(
        self,
        name: str,
        contents: ZoneContents,
        revision: int | None = None,
        *,
        by: Actor = APPLIANCE,
    ) -> Site:
        """Replace what a site's zone holds, all at once, and return the site as it is now.

        :param contents: a result of :func:`watchducks.registry.records.validate_contents`.
        :param revision: write only if the site still has this one; None: whatever it has.
        :raises SiteNotFound: there is no such site.
        :raises RevisionChanged: somebody has changed the site meanwhile.
        :raises Conflict: a host is to be proxied that another site's zone answers for.
        """
        return await self._change(
            name,
            Act.RECORDS,
            by,
            lambda connection, key: statements.keep_contents(
                connection, key, contents, revision, self._rules
            ),
        )

    async def step_keys(self, name: str, step: KeyStep, *, by: Actor = APPLIANCE) -> Site:
        """Take one step of the keys of a site's zone, and return the site.

        :raises SiteNotFound: there is no such site.
        :raises InvalidFields: it is not the time for this step.
        """
        return await self._change(
            name,
            Act.DNSSEC,
            by,
            lambda connection, key: (
                statements.step_keys(connection, key, step, self._keys),
                True,
            ),
            {"step": step},
        )

    async def remove(self, name: str, *, by: Actor = APPLIANCE) -> None:
        """Forget a site, its tokens, and its owner if it was his last.

        :raises SiteNotFound: there is no such site.
        """
        key, now = _key(name), int(self._clock.seconds())

        def write(connection: Connection) -> int:
            statements.lock(connection)
            site = finding.by_name(connection, key)
            revision = statements.remove(connection, key)
            audit.keep(connection, by, Act.REMOVED, now, site=site)
            return revision

        self._written(await self._write(write))

    async def renew_share(self, name: str, *, by: Actor = APPLIANCE) -> Site:
        """Give an unlisted site a new link, so that the one before is good no more.

        :raises SiteNotFound: there is no such site.
        """
        key, now = _key(name), int(self._clock.seconds())

        def write(connection: Connection) -> Site:
            site = statements.renew_share(connection, key)
            audit.keep(connection, by, Act.SHARED, now, site=site)
            return site

        return await self._write(write)

    async def _change(
        self,
        name: str,
        act: Act,
        by: Actor,
        work: Callable[[Connection, str], tuple[Site, bool]],
        details: Mapping[str, str] | None = None,
    ) -> Site:
        """Change a site and write down who did; returns the site as it is now."""
        key, now = _key(name), int(self._clock.seconds())

        def write(connection: Connection) -> tuple[Site, bool]:
            statements.lock(connection)
            before = finding.by_name(connection, key)
            site, changed = work(connection, key)
            if changed and before is not None:
                told = {**(details or {}), **audit.difference(before, site)}
                audit.keep(connection, by, act, now, site=site, details=told)
            return site, changed

        site, changed = await self._write(write)
        if changed:
            self._written(site.revision)
        return site

    async def trail(
        self, site_id: int | None, before: int | None = None, limit: int = PAGE_SITES
    ) -> list[Entry]:
        """Return who did what, the latest first.

        :param site_id: to one site; None: to all. :param before: the number of the last known one.
        """
        size = max(1, min(limit, MAX_PAGE_SITES))
        return await self._read(lambda connection: audit.page(connection, site_id, before, size))

    async def keep_entry(
        self, act: Act, site: Site | None, details: Mapping[str, str], *, by: Actor = APPLIANCE
    ) -> None:
        """Write down what was done elsewhere, such as with a certificate."""
        now = int(self._clock.seconds())
        await self._write(
            lambda connection: audit.keep(connection, by, act, now, site=site, details=details)
        )

    async def site(self, name: str) -> Site | None:
        """Return the site called ``name``, without regard to case."""
        return await self._read(lambda connection: finding.by_name(connection, _key(name)))

    async def site_for_host(self, host: str) -> Site | None:
        """Return the site that serves ``host`` (lower case, A-labels, no port)."""
        return await self._read(
            lambda connection: finding.by_host(connection, _storable(host), self._rules)
        )

    async def sites(
        self,
        cohort: str | None = None,
        after: str | None = None,
        limit: int = PAGE_SITES,
        *,
        viewer: Viewer = ANYBODY,
    ) -> list[Site]:
        """Return a page of sites, ordered by name without regard to case.

        :param after: the name of the last site of the page before.
        :param limit: at most this many; :data:`MAX_PAGE_SITES` at the very most.
        :param viewer: who will see it; what he may not see is not there.
        """
        group = None if cohort is None else _storable(cohort)
        key = None if after is None else _key(after)
        size = max(1, min(limit, MAX_PAGE_SITES))
        return await self._read(
            lambda connection: finding.page(connection, group, key, size, viewer)
        )

    async def count(self, cohort: str | None = None, *, viewer: Viewer = ANYBODY) -> int:
        """Return how many sites ``viewer`` may see listed, in ``cohort`` or at all."""
        group = None if cohort is None else _storable(cohort)
        return await self._read(lambda connection: finding.count(connection, group, viewer))

    async def cohorts(self, *, viewer: Viewer = ANYBODY) -> list[tuple[str, int]]:
        """Return the cohorts that have sites which ``viewer`` may see, by name, each with how many
        of these."""
        return await self._read(lambda connection: finding.cohorts(connection, viewer))

    # --- scans ----------------------------------------------------------------------------------

    async def sites_without_scan(
        self, after: int, since: int, limit: int = PAGE_SITES
    ) -> list[tuple[int, str]]:
        """Return id and zone of sites registered since ``since`` whose zones were not scanned yet,
        in the order of their ids; only those above ``after``."""
        return await self._read(lambda connection: scans.without(connection, after, since, limit))

    async def keep_scan(self, site_id: int, scan: Scan) -> bool:
        """Keep what a site's zone held before it was ours; False: there is no such site."""
        now = int(self._clock.seconds())
        return await self._write(lambda connection: scans.keep(connection, site_id, scan, now))

    async def scan(self, site_id: int) -> KeptScan | None:
        """Return the scan of a site; None: it is not made yet."""
        return await self._read(lambda connection: scans.of_site(connection, site_id))

    async def offer(self, site_id: int, found: tuple[Record, ...]) -> None:
        """Offer a site's owner records that his old name servers have and ours lack."""
        await self._write(lambda connection: scans.offer(connection, site_id, found))

    # --- cutovers -------------------------------------------------------------------------------

    async def cutover(self, site_id: int) -> SiteCutover | None:
        """Return how far a site's cutover has come; None: there is no such site."""
        return await self._read(lambda connection: cutovers.of_site(connection, site_id))

    async def take_due_cutovers(self, limit: int) -> list[SiteCutover]:
        """Return sites whose delegation is to be looked at now; nobody else gets them for a while,
        and :meth:`keep_look` says when they are due again."""
        now = int(self._clock.seconds())
        if not await self._read(lambda connection: cutovers.any_due(connection, now)):
            return []
        return await self._write(lambda connection: cutovers.take_due(connection, now, limit))

    async def keep_look(self, site_id: int, look: Look, own: Collection[str]) -> Site | None:
        """Take over what was seen of a site's delegation; returns the site, None if it has left.

        :param own: the names of our name servers.
        """
        now = int(self._clock.seconds())
        found = await self._write(
            lambda connection: cutovers.keep_look(connection, site_id, look, own, self._rules, now)
        )
        return self._stepped(found)

    async def saw_certificate(self, site_id: int) -> Site | None:
        """Take over that a proxy holds a certificate for a site; as often as one likes."""
        now = int(self._clock.seconds())
        found = await self._write(
            lambda connection: cutovers.step(
                connection,
                site_id,
                lambda state, before: cutover.after_certificate(state, before, self._rules, now),
                now,
            )
        )
        return self._stepped(found)

    async def keep_certificate_progress(
        self, rules: Mapping[int, Callable[[CertificateProgress], CertificateProgress]]
    ) -> None:
        """Change what became of the certificates of sites, by id."""
        await self._write(lambda connection: cutovers.keep_certificates(connection, rules))

    async def saw_request(self, site_id: int) -> Site | None:
        """Take over that a visitor's request for a site was seen; as often as one likes."""
        now = int(self._clock.seconds())
        found = await self._write(
            lambda connection: cutovers.step(
                connection,
                site_id,
                lambda state, before: cutover.after_request(state, before, self._rules, now),
                now,
            )
        )
        return self._stepped(found)

    async def look_soon(self, name: str) -> bool:
        """Let a site's delegation be looked at within seconds; False: it was just now."""
        now = int(self._clock.seconds())
        return await self._write(lambda connection: cutovers.look_soon(connection, _key(name), now))

    async def keep_warned(self, site_id: int) -> None:
        """Keep that a site's owner was told that it will be forgotten."""
        now = int(self._clock.seconds())
        await self._write(lambda connection: cutovers.keep_warned(connection, site_id, now))

    async def forget(self, site_id: int) -> bool:
        """Remove a site that nobody delegates, if it is time; whether it was."""
        now = int(self._clock.seconds())
        revision = await self._write(
            lambda connection: cutovers.forget(connection, site_id, self._rules, now)
        )
        if revision is not None:
            self._written(revision)
        return revision is not None

    async def adopt_cutovers(self, limit: int) -> bool:
        """Let sites that an earlier version registered be looked at; whether there may be more."""
        return await self._write(lambda connection: cutovers.adopt(connection, limit))

    def _stepped(self, found: tuple[Site, bool] | None) -> Site | None:
        if found is None:
            return None
        site, changed = found
        if changed:
            self._written(site.revision)
        return site

    # --- following ------------------------------------------------------------------------------

    async def revision(self) -> int:
        """Return the number of writes so far."""
        return (await self.head()).revision

    async def head(self) -> Head:
        """Return which registry this is, and its revision."""
        return await self._read(finding.head)

    async def changes_since(self, revision: int, limit: int = PAGE_CHANGES) -> Changes:
        """Return the next changes after ``revision``, oldest first.

        While ``more`` is set, ask again from the revision returned. From 0 on it is everything.
        """
        return await self._read(
            lambda connection: finding.changes_since(connection, revision, limit)
        )

    # --- tokens ---------------------------------------------------------------------------------

    async def identify(self, token: str) -> Viewer | None:
        """Return who shows ``token``; None: it is nobody's."""
        digest = digest_of(token)
        found = await self._read(lambda connection: accounts.identify(connection, digest))
        if found is None:
            return None
        viewer, number, used = found
        now = int(self._clock.seconds())
        if used <= now - USED_SECONDS:
            await self._write(lambda connection: accounts.keep_used(connection, number, now))
        return viewer

    async def authorise(self, site_name: str, token: str) -> bool:
        """Return whether ``token`` may change the site; without a name: is an admin's."""
        viewer = await self.identify(token)
        if viewer is None:
            return False
        if not site_name:
            return viewer.admin
        site = await self.site(site_name)
        return site is not None and viewer.may_change(site)

    async def create_admin_token(self, *, by: Actor = APPLIANCE) -> str:
        """Return a new token that is good for every site; it is shown once and kept nowhere."""
        token = new_token()
        now = int(self._clock.seconds())

        def write(connection: Connection) -> None:
            statements.add_admin_token(connection, digest_of(token), now)
            audit.keep(connection, by, Act.TOKEN_MADE, now, details={"kind": "admin"})

        await self._write(write)
        return token

    # --- for the others of this package ---------------------------------------------------------

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return what ``function`` reads in one transaction."""
        return await self._read(function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Return what ``function`` returns, and keep what it writes. It makes no revision."""
        return await self._write(function)

    # --------------------------------------------------------------------------------------------

    async def _read(self, function: Callable[[Connection], T]) -> T:
        await self._be_ready()
        return await self._store.read(function)

    async def _write(self, function: Callable[[Connection], T]) -> T:
        await self._be_ready()

        def write(connection: Connection) -> T:
            written = function(connection)
            if self._sealer is not None and not self._sealer.expects:
                sealed_with.settle(connection, self._sealer)
            return written

        try:
            return await self._store.write(write)
        except SealError as error:
            self._log.error("a key cannot be kept: {error}", error=str(error))
            raise StoreUnavailable(str(error)) from error

    async def _be_ready(self) -> None:
        # Callers that come at the same time may each try: `migrate` is safe for that, and nobody
        # waits for somebody else's attempt at a database that does not answer.
        if not self._migrated:
            try:
                await self._migrate()
            except StartupError as error:
                raise StoreUnavailable(str(error)) from error
        await self._agree()

    async def _migrate(self) -> None:
        if not await self._store.read(is_current):
            await self._store.write(migrate)
        self._migrated = True

    async def _agree(self) -> None:
        """Learn which key seals, as soon as there is one."""
        sealer = self._sealer
        if sealer is None or sealer.expects:
            return
        trouble = await self._store.read(lambda connection: sealed_with.learn(connection, sealer))
        if trouble:
            self._log.error("the registry's secrets stay closed: {trouble}", trouble=trouble)

    def _written(self, revision: int) -> None:
        for listener in self._on_write:
            listener(revision)


def _storable(text: str) -> str:
    """Return ``text`` as a database can be asked for it: no half of a surrogate pair can be stored,
    and no name has the "?" that it becomes."""
    return text.encode("utf-8", "replace").decode()


def _key(name: str) -> str:
    return _storable(name_key(name))


def new_token() -> str:
    """Return a new token; only its digest is kept."""
    return TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)


def digest_of(token: str) -> str:
    """Return what the registry knows of a token, or of another secret that nobody can guess."""
    return hashlib.sha256(_storable(token).encode()).hexdigest()
