"""The keeper: has certificates made for the registered sites, renewed, and dropped.

:mod:`.plan` says what is to be done for one of them, :mod:`.agenda` whose turn it is, and
:mod:`.orders` does it, some at a time, by one keeper of all that share a registry. What is under
way and what failed is in the registry, sealed, so that a keeper that was killed goes on where it
was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, Tasks
from watchducks.certificates.acme.client import REASON_CESSATION
from watchducks.certificates.acme.errors import AcmeError
from watchducks.certificates.agenda import Agenda
from watchducks.certificates.authorities import Authorities, OpenPlace, Place
from watchducks.certificates.files import CHANNEL
from watchducks.certificates.groups import Groups
from watchducks.certificates.holdings import Certificate, Holdings, PairStore
from watchducks.certificates.memory import BundleMemory, Memory, Secrets
from watchducks.certificates.orders import Orders, ProgressStore
from watchducks.certificates.plan import (
    FALLBACK_SECONDS,
    LEASE_SECONDS,
    NEVER,
    TURN_SECONDS,
    Failure,
    Issue,
    due_step,
    hurried,
    is_open,
)
from watchducks.certificates.rollover import Rollovers, RolloverStore
from watchducks.certificates.windows import RenewalWindows
from watchducks.model.certificates import ACCOUNT_KEYS, KeptPair, Wish
from watchducks.model.changes import Changes
from watchducks.model.cutover import CutoverRules
from watchducks.stores.interfaces import Cache, StoreUnavailable

LEASE: Final = "certificates"
# Orders under way: each is mostly waiting, for propagation and for the authority's looks. With ten
# seconds for an order 200 new sites have theirs in three minutes, well within Let's Encrypt's 300
# orders in three hours.
AT_ONCE: Final = 12
# Groups looked at in one turn, at some microseconds each.
MAX_CONSIDERED: Final = 2000
# After an error that nobody foresaw, or without the registry.
AGAIN_SECONDS: Final = 60.0
# A certificate that nobody needs stays for this long: a site may come back, and no hiccup of a
# registry shall make us revoke what is in use.
DROP_SECONDS: Final = 3600.0
# Between two times of forgetting what was dropped.
FORGET_SECONDS: Final = 3600.0
# Certificates of which it is looked in one turn whether somebody needs them.
MAX_CHECKED: Final = 200


class KeeperStore(PairStore, RolloverStore, Secrets, Protocol):
    """What the keeper keeps: :class:`watchducks.registry.vault.Vault`. Each method may raise
    StoreUnavailable."""

    async def lease(self, name: str, holder: str, seconds: int) -> bool:
        """Take or prolong a lease; False: somebody else has it."""

    async def release(self, name: str, holder: str) -> None:
        """Give it back, if it is one's own."""

    async def forget_dropped(self) -> None:
        """Forget what was dropped long ago."""

    async def wishes(self) -> list[Wish]:
        """Return some of what somebody asks the keeper for."""


class Keeper:
    """A Part; :meth:`apply` is what a ``SiteFeed`` calls.

    :param places: the authorities, the wanted one first.
    :param names_per_certificate: sites that share one.
    :param now: gives POSIX seconds.
    """

    def __init__(
        self,
        store: KeeperStore,
        cache: Cache,
        places: list[Place],
        progress: ProgressStore,
        *,
        names_per_certificate: int,
        rules: CutoverRules,
        clock: IReactorTime,
        now: Callable[[], float],
        turn_seconds: float = TURN_SECONDS,
        lease_seconds: int = LEASE_SECONDS,
        fallback_seconds: float = FALLBACK_SECONDS,
    ) -> None:
        self._log = Logger()
        self._store = store
        self._cache = cache
        self._now = now
        self._turn_seconds = turn_seconds
        self._lease_seconds = lease_seconds
        self._holder = secrets.token_hex(8)
        self._leased = 0.0
        self._ready = False
        self._agenda = Agenda()
        self._under_way: set[str] = set()
        self._checks: Iterator[tuple[str, Certificate]] = iter(())
        self._unneeded: dict[str, float] = {}
        self._forgets = 0.0
        self.groups = Groups(names_per_certificate, rules)
        self.authorities = Authorities(places, store, fallback_seconds)
        self._rollovers = Rollovers(self.authorities, store, now=now)
        self.memory = Memory(store)
        self.holdings = Holdings(store)
        self.orders = Orders(
            self.memory, self.holdings, self.groups, progress, self._announce, now=now
        )
        self._windows = RenewalWindows(
            self.holdings, self.authorities, self._window_changed, clock=clock, now=now
        )
        self._tasks = Tasks(self._log)
        self._turns = Repeating(
            self._turn, turn_seconds, clock=clock, log=self._log, name="keeping certificates"
        )

    def apply(self, changes: Changes) -> None:
        """Take over which sites there are."""
        for group in self.groups.apply(changes):
            self._agenda.put(group, 0.0)
        self._turns.nudge()

    @property
    def orders_under_way(self) -> int:
        """How many orders are under way."""
        return len(self._under_way)

    async def start(self) -> None:
        """Begin."""
        self._turns.start()
        await self._windows.start()

    async def stop(self) -> None:
        """Leave the orders under way as they are; they are taken up again after the next start."""
        await self._turns.stop()
        await self._windows.stop()
        await self._tasks.stop()
        await self._give_way()

    async def _give_way(self) -> None:
        """Let another host be in charge."""
        self._leased = 0.0
        try:
            await self._store.release(LEASE, self._holder)
        except StoreUnavailable as error:
            self._log.debug("the lease stays for a moment: {error}", error=str(error))

    # --- one turn -------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Begin what is due, as much of it as may be under way at once."""
        try:
            if not await self._is_in_charge():
                self._ready = False  # what we remember is no longer the latest
                return
            if not self._ready:
                await self._take_over()
            await self._hear()
            if not self._changes_keys():
                self._begin()
                await self._drop()
        except StoreUnavailable as error:
            self._log.warn("certificates wait for the registry: {error}", error=str(error))

    async def _is_in_charge(self) -> bool:
        """Take or prolong the lease, unless that was just done."""
        now = self._now()
        if self._leased + self._turn_seconds > now >= self._leased:
            return True
        if not await self._store.lease(LEASE, self._holder, self._lease_seconds):
            self._leased = 0.0
            return False
        self._leased = now
        return True

    async def _take_over(self) -> None:
        """Read what the keeper before us, most often ourselves, left."""
        try:
            await self.authorities.open()
            self._rollovers.took_over()
            await self.memory.recall()
            await self.holdings.follow()
        except StoreUnavailable:
            # A host that cannot open what the others sealed must not keep them from their work.
            await self._give_way()
            raise
        for group in self.groups.all():
            self._agenda.put(group, self._now())
        self._ready = True

    async def _hear(self) -> None:
        """Do what somebody asks for: an attempt for each zone whose owner wants it, new keys."""
        for wish in await self._store.wishes():
            if wish == ACCOUNT_KEYS:
                self._rollovers.want()
                continue  # fulfilled when it is done
            failures = self.memory.failures.get(wish.zone)
            group = self.groups.of_zone(wish.zone)
            if failures is not None and group is not None:
                await self.memory.keep_failures(wish.zone, hurried(failures, self._now()))
                self._agenda.put(group, self._now())
            await self._store.fulfilled(wish)

    def _changes_keys(self) -> bool:
        """Begin to change the keys of accounts, if that is wanted; no order begins meanwhile."""
        if not self._rollovers.due():
            return False
        if not self._under_way and self._rollovers.begin():
            self._tasks.start(self._change_keys(), "changing the keys of accounts")
        return True

    async def _change_keys(self) -> None:
        try:
            await self._rollovers.change()
        finally:
            self._turns.nudge()

    def _begin(self) -> None:
        now = self._now()
        for _ in range(MAX_CONSIDERED):
            if len(self._under_way) >= AT_ONCE:
                return
            group = self._agenda.take(now)
            if group is None:
                return
            self._consider(group, now)

    def _consider(self, group: int, now: float) -> None:
        """Begin what is due for a group, or put down when it will be."""
        again, begun = NEVER, []
        for bundle, names in self.groups.bundles(group, self._alone(group)).items():
            if bundle in self._under_way:  # its end puts the group down again
                continue
            held = self.holdings.held(bundle)
            issue, later = due_step(bundle, names, held, self._failures(group), now)
            if issue is not None:
                waits = self.memory.bundle(bundle).waits
                place, later = self.authorities.choose(waits, now, urgent=issue.urgent)
                if place is not None:
                    begun.append((issue, place))
                    continue
            again = min(again, later)
        self._agenda.put(group, again)
        self._under_way.update(issue.bundle for issue, _ in begun)
        for issue, place in begun:
            self._tasks.start(self._carry_out(group, issue, place), f"ordering {issue.bundle}")

    async def _carry_out(self, group: int, issue: Issue, place: OpenPlace) -> None:
        again = self._now() + AGAIN_SECONDS
        try:
            await self.orders.carry_out(issue, place)
            again = 0.0
        except StoreUnavailable as error:
            self._log.warn("certificates wait for the registry: {error}", error=str(error))
            again = self._now() + self._turn_seconds
        finally:
            self._under_way.discard(issue.bundle)
            self._agenda.put(group, again)
            self._turns.nudge()

    def _alone(self, group: int) -> set[str]:
        failures = self.memory.failures
        return {zone for zone in self.groups.zones(group) if is_open(failures.get(zone, {}))}

    def _failures(self, group: int) -> dict[str, Failure]:
        found: dict[str, Failure] = {}
        for zone in self.groups.zones(group):
            found |= self.memory.failures.get(zone, {})
        return found

    def _window_changed(self, bundle: str) -> None:
        certificate = self.holdings.get(bundle)
        if certificate is not None:
            for group in self.groups.of_names(certificate.held.names):
                self._agenda.put(group, self._now())

    async def _announce(self) -> None:
        try:
            await self._cache.publish(CHANNEL, b"")
        except StoreUnavailable as error:
            # The others see it when they next look.
            self._log.debug("a certificate was not announced: {error}", error=str(error))

    # --- the end --------------------------------------------------------------------------------

    async def _drop(self) -> None:
        """Drop what nobody has needed for long enough, of the next few certificates."""
        now = self._now()
        checked = list(islice(self._checks, MAX_CHECKED))
        for bundle, certificate in checked:
            if bundle in self._under_way or self._is_needed(bundle, certificate):
                self._unneeded.pop(bundle, None)
            elif self._unneeded.setdefault(bundle, now) + DROP_SECONDS <= now:
                del self._unneeded[bundle]
                await self._part_with(bundle, certificate)
        if len(checked) < MAX_CHECKED:  # that was all: from the first one on at the next turn
            self._checks = self.holdings.items()
            await self._forget()

    async def _forget(self) -> None:
        """Forget what failed of sites that have left, and what was dropped long ago."""
        now = self._now()
        if self._forgets <= now:
            self._forgets = now + FORGET_SECONDS
            await self._store.forget_dropped()
        for zone, failures in list(self.memory.failures.items()):
            old = all(one.last + DROP_SECONDS <= now for one in failures.values())
            if old and not self.groups.has(zone):
                await self.memory.keep_failures(zone, {})
        for bundle in self.memory.bundles():
            order, waits = self.memory.bundle(bundle).order, self.memory.bundle(bundle).waits
            old = all(wait.until + DROP_SECONDS <= now for wait in waits.values())
            if old and not (order and self.groups.of_names(order.names)):
                await self.memory.keep_bundle(bundle, BundleMemory())

    def _is_needed(self, bundle: str, certificate: Certificate) -> bool:
        """Whether a bundle has sites, or a name of it that is in use has no other certificate."""
        if self.holdings.get(bundle) is None:
            return True  # dropped, or another one by now
        groups = self.groups.of_names(certificate.held.names)
        kept: dict[str, tuple[str, ...]] = {}
        for group in groups:
            kept |= self.groups.bundles(group, self._alone(group), kept=True)
        if bundle in kept:
            return True
        if certificate.held.not_after <= self._now():
            return False
        return any(
            self.groups.zone_of(name) is not None and not self._has_another(name, kept)
            for name in certificate.held.names
        )

    def _has_another(self, name: str, kept: dict[str, tuple[str, ...]]) -> bool:
        return any(
            name in held.names
            for other in kept
            if (held := self.holdings.held(other)) is not None and held.not_after > self._now()
        )

    async def _part_with(self, bundle: str, certificate: Certificate) -> None:
        in_use = any(self.groups.zone_of(name) for name in certificate.held.names)
        place = self.authorities.named(certificate.authority)
        if certificate.held.not_after > self._now() and not in_use and place is not None:
            try:
                await place.authority.revoke(certificate.leaf, REASON_CESSATION)
                self._log.info("the certificate of {bundle} was revoked", bundle=bundle)
            except AcmeError as error:
                # Its key is destroyed with it, which is what counts.
                self._log.warn(
                    "the certificate of {bundle} was not revoked: {error}",
                    bundle=bundle,
                    error=str(error),
                )
        await self.holdings.keep(KeptPair(bundle, None))
        await self._announce()
        self._log.info("the certificate of {bundle} was dropped", bundle=bundle)
