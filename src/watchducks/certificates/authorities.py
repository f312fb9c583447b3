"""The certificate authorities: which of them is asked, and for how long one is left in peace.

The first one, while it can do it. A second one stands in when the first could not for
:data:`.plan.FALLBACK_SECONDS`, and only for what is urgent: what fails because of a name would
fail there as well, and a renewal has weeks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from watchducks.certificates.acme.libraries import AccountKey
from watchducks.certificates.acme.session import Answer
from watchducks.certificates.memory import Wait
from watchducks.certificates.plan import FALLBACK_SECONDS, NEVER

# When an authority is away: doubled each time.
FIRST_PAUSE_SECONDS: Final = 5.0
MAX_PAUSE_SECONDS: Final = 600.0


class Authority(Protocol):
    """Who makes certificates: :class:`watchducks.certificates.acme.client.Client`, which says more.
    Each method may raise AcmeError."""

    async def order(self, names: Sequence[str], *, replaces: str = "") -> str:
        """Place an order and return its URL."""

    async def complete(
        self, url: str, names: Sequence[str], key: ec.EllipticCurvePrivateKey
    ) -> bytes:
        """Return the chain of an order, however far it was."""

    async def revoke(self, leaf: x509.Certificate, reason: int) -> None:
        """Revoke a certificate."""

    async def renewal_info(self, renewal_id: str) -> Answer | None:
        """Return when a certificate should be renewed; None: it has no opinion."""

    async def has_account(self) -> bool:
        """Return whether the key has an account."""

    async def change_key(self, new: AccountKey) -> None:
        """Give the account another key. ``Unavailable``: nobody knows which one holds."""


class AccountStore(Protocol):
    """Where accounts' keys are: :class:`watchducks.registry.vault.Vault`. May raise
    StoreUnavailable."""

    async def secret(self, name: str) -> bytes | None:
        """Return what was kept under ``name``."""

    async def keep_secret(self, name: str, secret: bytes | None) -> None:
        """Keep ``secret``; None: forget it."""


@dataclass(frozen=True, slots=True)
class Place:
    """An authority as it is configured. :ivar name: see :func:`account_name`.
    :ivar open: gives the authority as the account with this key sees it."""

    name: str
    open: Callable[[AccountKey], Authority]


@dataclass(slots=True)
class OpenPlace:
    """An authority with our account. :ivar reopen: gives it as the account with this key sees it.
    :ivar unsettled: another key was announced, and it is not known which one holds.
    :ivar away_since: since when it does not answer; 0: it does.
    :ivar paused_until: it is asked nothing before. POSIX seconds."""

    name: str
    authority: Authority
    reopen: Callable[[AccountKey], Authority]
    unsettled: bool = False
    away_since: float = 0.0
    paused_until: float = 0.0
    pause: float = FIRST_PAUSE_SECONDS

    def answered(self) -> None:
        """Take over that it did what it was asked."""
        self.away_since, self.pause = 0.0, FIRST_PAUSE_SECONDS

    def was_away(self, now: float, wanted: float | None) -> float:
        """Take over that it did not answer, or said "later"; returns in how many seconds to ask.

        :param wanted: what it said itself.
        """
        self.away_since = self.away_since or now
        if self.paused_until > now:  # another order has been told just now
            return self.paused_until - now
        pause = max(self.pause, wanted or 0.0)
        self.pause = min(self.pause * 2, MAX_PAUSE_SECONDS)
        self.paused_until = now + pause
        return pause

    def rest(self, until: float) -> None:
        """Ask it nothing before ``until``."""
        self.paused_until = max(self.paused_until, until)


class Authorities:
    """:param places: the wanted one first."""

    def __init__(
        self,
        places: Sequence[Place],
        store: AccountStore,
        fallback_seconds: float = FALLBACK_SECONDS,
    ) -> None:
        self._fallback_seconds = fallback_seconds
        self._places = places
        self._store = store
        self._open: list[OpenPlace] = []

    async def open(self) -> None:
        """Be ready to ask each; an account's key is made when there is none yet."""
        opened = []
        for place in self._places:
            pem = await self._store.secret(place.name)
            if pem is None:
                key = AccountKey.generate()
                await self._store.keep_secret(place.name, key.pem())
            else:
                key = AccountKey.from_pem(pem)
            announced = await self._store.secret(announced_name(place.name))
            opened.append(
                OpenPlace(place.name, place.open(key), place.open, unsettled=announced is not None)
            )
        self._open = opened

    def all(self) -> Sequence[OpenPlace]:
        """Return those that are open."""
        return self._open

    def named(self, name: str) -> OpenPlace | None:
        """Return an authority by its name; None: it is not configured any more."""
        return next((place for place in self._open if place.name == name), None)

    def choose(
        self, waits: Mapping[str, Wait], now: float, *, urgent: bool
    ) -> tuple[OpenPlace | None, float]:
        """Return whom to ask for a bundle, or None and when there will be somebody.

        :param waits: of the bundle, by authority.
        """
        earliest = NEVER
        for place in self._open if urgent else self._open[:1]:
            wait = waits.get(place.name)
            until = max(place.paused_until, 0.0 if wait is None else wait.until)
            if until <= now:
                return place, now
            earliest = min(earliest, until)
            refused = now if wait is None or wait.until <= now else wait.since
            stands_in = min(place.away_since or now, refused) + self._fallback_seconds
            if now < stands_in:
                return None, min(earliest, stands_in)
        return None, earliest


def account_name(directory: str) -> str:
    """Return what the key of the account at this authority is called in the store."""
    return f"account.{hashlib.sha256(directory.encode()).hexdigest()[:32]}"


def announced_name(account: str) -> str:
    """Return what an account's next key is called in the store, until it is known to hold."""
    return f"next.{account}"
