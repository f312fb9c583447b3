"""Another key for the account at an authority (RFC 8555 section 7.3.5).

The new key is in the store before the authority hears of it, so that whoever comes after a
``kill -9`` has both, and asks the authority which one holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from twisted.logger import Logger

from watchducks.certificates.acme.errors import AcmeError, Unavailable
from watchducks.certificates.acme.libraries import AccountKey
from watchducks.certificates.authorities import AccountStore, Authorities, OpenPlace, announced_name
from watchducks.model.certificates import ACCOUNT_KEYS, Wish
from watchducks.stores.interfaces import StoreUnavailable

# An authority that did not answer is asked again after this.
AGAIN_SECONDS: Final = 60.0
_log: Final = Logger()


class RolloverStore(AccountStore, Protocol):
    """Where accounts' keys are changed: :class:`watchducks.registry.vault.Vault`. May raise
    StoreUnavailable."""

    async def replace_account_key(self, name: str, announced: str, pem: bytes) -> None:
        """Keep ``pem`` under ``name`` and forget ``announced``, both or neither."""

    async def fulfilled(self, wish: Wish) -> None:
        """Forget a wish."""


class Rollovers:
    """Which accounts are to have other keys, and when.

    :param now: gives POSIX seconds.
    """

    def __init__(
        self, authorities: Authorities, store: RolloverStore, *, now: Callable[[], float]
    ) -> None:
        self._authorities = authorities
        self._store = store
        self._now = now
        self._places: list[OpenPlace] = []
        self._wanted = self._changing = False
        self._due = 0.0

    def took_over(self) -> None:
        """Begin with what the keeper before us left unsettled."""
        self._places = [place for place in self._authorities.all() if place.unsettled]
        self._wanted, self._due = False, 0.0

    def want(self) -> None:
        """Have all of them changed; once, however often it is said before it is done."""
        if not self._wanted:
            self._wanted = True
            self._places = list(self._authorities.all())

    def due(self) -> bool:
        """Return whether no order shall begin, because a key is to be changed."""
        return self._changing or (bool(self._places) and self._now() >= self._due)

    def begin(self) -> bool:
        """Return whether to call :meth:`change` now; False: that is under way."""
        begins, self._changing = not self._changing, True
        return begins

    async def change(self) -> None:
        """Change them; what could not be is tried again later."""
        places, self._places = self._places, []
        again = self._now() + AGAIN_SECONDS
        left = list(places)
        try:
            for place in places:
                try:
                    await roll_over(place, self._store)
                except Unavailable as error:
                    _log.warn("an account waits for its key: {error}", error=str(error))
                    place.was_away(self._now(), error.retry_seconds)
                    place.rest(again)
                    continue
                except AcmeError as error:
                    _log.error("an account keeps its key: {error}", error=str(error))
                left.remove(place)
            if not left:
                await self._store.fulfilled(ACCOUNT_KEYS)
                self._wanted = False
        except StoreUnavailable as error:
            _log.warn("an account's key waits for the registry: {error}", error=str(error))
        finally:
            # Somebody may have taken over meanwhile, and found them himself.
            self._places = self._places or left
            self._due = again if left else 0.0
            self._changing = False


async def roll_over(place: OpenPlace, store: RolloverStore) -> None:
    """Give the account another key, or bring to its end what was begun. No order may be under way:
    the answers to its challenges are made of the old key.

    :raises Unavailable: nobody knows which key holds; to be called again.
    :raises AcmeError: the authority refused, and the old key stays.
    :raises StoreUnavailable: as ``Unavailable``.
    """
    name = announced_name(place.name)
    pem = await store.secret(name)
    if pem is None:
        new = AccountKey.generate()
        await store.keep_secret(name, new.pem())
    else:
        new = AccountKey.from_pem(pem)
    candidate = place.reopen(new)
    if pem is None or not await candidate.has_account():
        try:
            await place.authority.change_key(new)
        except Unavailable:
            raise
        except AcmeError:
            await store.keep_secret(name, None)
            place.unsettled = False
            raise
    await store.replace_account_key(place.name, name, new.pem())
    place.authority, place.unsettled = candidate, False
    _log.info("the account {name} has another key", name=place.name)
