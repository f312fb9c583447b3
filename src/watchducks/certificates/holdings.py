"""The certificates that the registry has, as the keeper sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from watchducks.certificates.acme.renewal import Window, due_at
from watchducks.certificates.files import split
from watchducks.certificates.pairs import names_of
from watchducks.certificates.plan import Held
from watchducks.model.certificates import KeptPair

# What begins with it is called neither by a zone nor by a group.
LEFT: Final = "left."
# Enough to tell the certificates of one bundle apart.
_DIGEST_CHARACTERS: Final = 16
# As long as a zone's name, which others are called by.
_MAX_NAME_CHARACTERS: Final = 253


class PairStore(Protocol):
    """Where they are kept: :class:`watchducks.registry.vault.Vault`. May raise StoreUnavailable."""

    async def certificates_since(self, revision: int) -> tuple[int, list[KeptPair]]:
        """Return the next changes after ``revision``, and how far they go."""

    async def keep_certificate(self, pair: KeptPair, *, before: str = "") -> None:
        """Keep a certificate in place of the one before, which is kept as ``before``, if given."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """:ivar authority: what its authority is called.
    :ivar asked_again: when its window is to be asked for, POSIX seconds."""

    leaf: x509.Certificate
    held: Held
    authority: str
    asked_again: float = 0.0


class Holdings:
    """By bundle."""

    def __init__(self, store: PairStore) -> None:
        self._store = store
        self._revision = 0
        self._found: dict[str, Certificate] = {}

    async def follow(self) -> None:
        """Take over which certificates there are."""
        while True:
            self._revision, changes = await self._store.certificates_since(self._revision)
            if not changes:
                return
            for pair in changes:
                self._take(pair)

    async def keep(self, pair: KeptPair, *, before: str = "") -> None:
        """Keep a certificate, or drop one.

        :param before: what the one that it takes the place of is called from now on; "": it goes.
        """
        await self._store.keep_certificate(pair, before=before)
        if before and pair.bundle in self._found:
            self._found[before] = self._found[pair.bundle]
        self._take(pair)

    def called(self, bundle: str) -> str:
        """Return what the present certificate of a bundle is called when another one takes its
        place and it stays."""
        leaf = self._found[bundle].leaf.public_bytes(serialization.Encoding.DER)
        digest = hashlib.sha256(leaf).hexdigest()[:_DIGEST_CHARACTERS]
        return f"{LEFT}{digest}.{bundle}"[:_MAX_NAME_CHARACTERS]

    def _take(self, pair: KeptPair) -> None:
        found = _read(pair)
        if found is None:  # what cannot be read is as good as not there
            self._found.pop(pair.bundle, None)
        else:
            self._found[pair.bundle] = found

    def get(self, bundle: str) -> Certificate | None:
        """Return the certificate of a bundle."""
        return self._found.get(bundle)

    def held(self, bundle: str) -> Held | None:
        """Return what the plan wants to know of it."""
        found = self._found.get(bundle)
        return None if found is None else found.held

    def items(self) -> Iterator[tuple[str, Certificate]]:
        """Yield all as they are now, by bundle."""
        yield from list(self._found.items())

    def all(self) -> list[Certificate]:
        """Return all as they are now."""
        return list(self._found.values())

    def learn(self, bundle: str, window: Window | None, asked_again: float) -> None:
        """Take over when an authority wants a certificate renewed; None: it has no opinion."""
        one = self._found[bundle]
        held = replace(one.held, due=_due(one.leaf, window))
        self._found[bundle] = replace(one, held=held, asked_again=asked_again)


def _read(pair: KeptPair) -> Certificate | None:
    if pair.pem is None:
        return None
    try:
        leaf = x509.load_pem_x509_certificates(split(pair.pem)[0])[0]
    except ValueError:
        return None
    held = Held(names_of(leaf), leaf.not_valid_after_utc.timestamp(), _due(leaf, None))
    return Certificate(leaf, held, pair.authority)


def _due(leaf: x509.Certificate, window: Window | None) -> float:
    digest = hashlib.sha256(leaf.public_bytes(serialization.Encoding.DER)).digest()
    # Always the same for one certificate, and evenly spread over all.
    share = int.from_bytes(digest[:4]) / 2**32
    begin, end = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return due_at(begin, end, window, share)
