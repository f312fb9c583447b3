"""Orders: placed, brought to their end, and judged when they fail.

Everything that has to outlive a ``kill -9`` is in the registry before the next step is taken: an
order's URL and key before its challenges, the certificate before the order is forgotten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.logger import Logger

from watchducks.certificates.acme.errors import (
    AcmeError,
    RateLimited,
    Reason,
    Rejected,
    Unavailable,
)
from watchducks.certificates.acme.libraries import new_key
from watchducks.certificates.acme.renewal import renewal_id
from watchducks.certificates.authorities import OpenPlace
from watchducks.certificates.files import joined
from watchducks.certificates.groups import Groups
from watchducks.certificates.holdings import Holdings
from watchducks.certificates.memory import BundleMemory, Memory, Order, Wait
from watchducks.certificates.plan import Failure, Issue, blamed, failed, put_right
from watchducks.model.certificates import (
    CertificateFailure,
    CertificateProgress,
    KeptPair,
    Trouble,
    after_failure,
    after_issue,
    after_order,
    trouble_of,
)

# For one bundle that was refused without a reason of a name's, and without "for how long": doubled
# each time.
RATE_LIMIT_SECONDS: Final = 3600.0
REFUSED_SECONDS: Final = 600.0
MAX_REFUSED_SECONDS: Final = 6 * 3600.0
# For all others meanwhile: what was refused may concern the account.
REST_SECONDS: Final = 60.0

Rule = Callable[[CertificateProgress], CertificateProgress]


class ProgressStore(Protocol):
    """Where it is kept how far sites are: :class:`watchducks.registry.registry.Registry`."""

    async def keep_certificate_progress(self, rules: Mapping[int, Rule]) -> None:
        """Change the progress of sites (by id). May raise StoreUnavailable."""


class Orders:
    """:param issued: awaited after each new certificate, to tell others of it.
    :param now: gives POSIX seconds.

    :ivar placed: orders so far; likewise ``done`` and ``failures``.
    :ivar failed_at: when the last attempt failed, POSIX seconds; 0: none did.
    """

    def __init__(
        self,
        memory: Memory,
        holdings: Holdings,
        groups: Groups,
        progress: ProgressStore,
        issued: Callable[[], Awaitable[None]],
        *,
        now: Callable[[], float],
    ) -> None:
        self._log = Logger()
        self._memory = memory
        self._holdings = holdings
        self._groups = groups
        self._progress = progress
        self._issued = issued
        self._now = now
        self.placed = self.done = self.failures = 0
        self.failed_at = 0.0

    async def carry_out(self, issue: Issue, place: OpenPlace) -> None:
        """Have a certificate made, or remember why it could not be.

        :raises StoreUnavailable: the registry is away; it goes on where it was.
        """
        try:
            order = self._memory.bundle(issue.bundle).order
            if order is None or order.authority != place.name or order.names != issue.names:
                order = await self._place(issue, place)
            await self._complete(issue, order, place)
            place.answered()
            return
        except Rejected as error:
            # What speaks of no name of ours speaks of all: else nothing would make us wait.
            reasons = {name: why for name, why in error.names.items() if name in issue.names}
            why = Reason(error.kind, str(error))
            await self._rejected(issue, reasons or dict.fromkeys(issue.names, why))
        except RateLimited as error:
            await self._refused(issue, place, error, RATE_LIMIT_SECONDS)
        except Unavailable as error:
            now = self._now()
            pause = place.was_away(now, error.retry_seconds)
            self._log.warn(
                "the certificate authority is asked again in {pause} s: {error}",
                pause=round(pause),
                error=str(error),
            )
            await self._told(
                issue.names, CertificateFailure(Trouble.AWAY, str(error)), int(now + pause)
            )
        except AcmeError as error:
            if error.kind in ("rejectedIdentifier", "caa", "unsupportedIdentifier"):
                why = Reason(error.kind, str(error))
                await self._rejected(issue, dict.fromkeys(blamed(issue.names, str(error)), why))
            else:
                await self._refused(issue, place, error, REFUSED_SECONDS)
        self.failures += 1
        self.failed_at = self._now()

    # --- the way of an order --------------------------------------------------------------------

    async def _place(self, issue: Issue, place: OpenPlace) -> Order:
        present = self._holdings.get(issue.bundle)
        replaces = ""
        if issue.renews and present is not None and present.authority == place.name:
            replaces = renewal_id(present.leaf)
        key = new_key().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        url = await place.authority.order(issue.names, replaces=replaces)
        order = Order(place.name, url, issue.names, key.decode())
        memory = self._memory.bundle(issue.bundle)
        await self._memory.keep_bundle(issue.bundle, replace(memory, order=order))
        self.placed += 1
        now = int(self._now())
        await self._step(issue.names, lambda before: after_order(before, now))
        return order

    async def _complete(self, issue: Issue, order: Order, place: OpenPlace) -> None:
        key = serialization.load_pem_private_key(order.key.encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "new_key makes no others"
        chain = await place.authority.complete(order.url, order.names, key)
        await self._holdings.keep(
            KeptPair(issue.bundle, joined(chain, order.key.encode()), place.name),
            before=self._left(issue.bundle, order.names),
        )
        await self._issued()
        now = self._now()
        held = self._holdings.held(issue.bundle)
        if held is None or held.not_after <= now:
            raise AcmeError("the authority's certificate has expired: is this clock right?")
        await self._memory.keep_bundle(issue.bundle, BundleMemory())
        for site in self._groups.sites_of(order.names):
            failures = self._memory.failures.get(site.zone, {})
            await self._memory.keep_failures(site.zone, put_right(failures, order.names, now))
        self.done += 1
        expires = int(held.not_after)
        await self._step(order.names, lambda before: after_issue(before, int(now), expires))
        self._log.info("a certificate for {names} is here", names=", ".join(order.names))

    def _left(self, bundle: str, names: Sequence[str]) -> str:
        """Return what the present certificate is to be called that one with ``names`` takes the
        place of; "": it goes. It stays for names that could not be validated anew, until it ends,
        or they have another one."""
        present = self._holdings.held(bundle)
        if present is None or present.not_after <= self._now():
            return ""
        left = present.names.difference(names)
        return self._holdings.called(bundle) if self._groups.sites_of(left) else ""

    # --- failures -------------------------------------------------------------------------------

    async def _rejected(self, issue: Issue, names: Mapping[str, Reason]) -> None:
        """Leave ``names`` out until their time comes."""
        now = self._now()
        memory = self._memory.bundle(issue.bundle)
        await self._memory.keep_bundle(issue.bundle, replace(memory, order=None))
        rules: dict[int, Rule] = {}
        for site in self._groups.sites_of(names):
            own = {name: why for name, why in names.items() if name in site.hosts}
            failures = failed(self._memory.failures.get(site.zone, {}), own, now)
            await self._memory.keep_failures(
                site.zone, {name: one for name, one in failures.items() if name in site.hosts}
            )
            worst = max(own, key=lambda name: failures[name].until)
            rules[site.id] = partial(_after_rejection, worst, failures[worst], int(now))
            for name in own:
                self._log.warn(
                    "{name} gets no certificate yet: {reason}; again in {seconds} s",
                    name=name,
                    reason=failures[name].reason,
                    seconds=round(failures[name].until - now),
                )
        if rules:
            await self._progress.keep_certificate_progress(rules)

    async def _refused(
        self, issue: Issue, place: OpenPlace, error: AcmeError, usual_seconds: float
    ) -> None:
        """Leave the bundle in peace for a while at this authority: the next order is a new one."""
        now = self._now()
        waits = dict(self._memory.bundle(issue.bundle).waits)
        before = waits.get(place.name)
        times = 1 if before is None else before.times + 1
        seconds = error.retry_seconds
        if seconds is None:
            seconds = min(usual_seconds * 2 ** min(times - 1, 10), MAX_REFUSED_SECONDS)
        since = now if before is None else before.since
        waits[place.name] = Wait(since, now + seconds, times)
        place.rest(now + min(seconds, REST_SECONDS))
        await self._memory.keep_bundle(issue.bundle, BundleMemory(None, waits))
        self._log.error(
            "the certificate of {bundle} is tried again in {seconds} s: {error}",
            bundle=issue.bundle,
            seconds=round(seconds),
            error=str(error),
        )
        trouble = trouble_of("rateLimited" if isinstance(error, RateLimited) else error.kind)
        failure = CertificateFailure(trouble, str(error), issue.names[0])
        await self._told(issue.names, failure, int(now + seconds))

    async def _told(self, names: Sequence[str], failure: CertificateFailure, retry: int) -> None:
        now = int(self._now())
        await self._step(names, lambda before: after_failure(before, failure, now, retry))

    async def _step(self, names: Sequence[str], rule: Rule) -> None:
        sites = self._groups.sites_of(names)
        if sites:
            await self._progress.keep_certificate_progress({site.id: rule for site in sites})


def _after_rejection(
    name: str, failure: Failure, now: int, before: CertificateProgress
) -> CertificateProgress:
    found = CertificateFailure(trouble_of(failure.kind), failure.reason, name)
    return after_failure(before, found, now, int(failure.until), int(failure.soonest))
