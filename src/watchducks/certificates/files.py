"""Certificates of the registry as files: in folders of this host, where the store finds them.

Each version of a certificate has a folder of its own, which appears whole and disappears whole (one
rename each), and an old one leaves only after the new one is there: so nobody ever reads a key of
one and a chain of another.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, Threads
from watchducks.certificates.pairs import CHAIN_FILE, KEY_FILE
from watchducks.model.certificates import KeptPair
from watchducks.stores.interfaces import Cache, StoreUnavailable

LOOK_SECONDS: Final = 1.0
CHANNEL: Final = "watchducks:certificates"
# Folders that are ours to remove begin with it; others are the sysadmin's.
PREFIX: Final = "acme-"
# Beside the certificates, on the same file system: what is being made, and what is being removed.
WORKSHOP: Final = "certificates.new"
# Part of a folder's name: enough to tell versions apart.
_VERSION_CHARACTERS: Final = 12
# What file systems allow is 255, and a name of DNS has up to 253.
_MAX_NAME_CHARACTERS: Final = 200

_END: Final = b"-----END CERTIFICATE-----\n"


class CertificateSource(Protocol):
    """Where they come from: :class:`watchducks.registry.vault.Vault`."""

    async def certificates_since(self, revision: int) -> tuple[int, list[KeptPair]]:
        """Return the next changes. May raise StoreUnavailable."""


class CertificateFiles:
    """Writes what the registry has (:class:`watchducks.background.Part`).

    :param directory: what a store watches; made if it is not there.
    :param written: called when something has changed there.
    :param pool: for writing; it belongs to the caller.
    """

    def __init__(
        self,
        source: CertificateSource,
        directory: Path,
        written: Callable[[], None],
        cache: Cache,
        *,
        pool: Threads,
        clock: IReactorTime,
    ) -> None:
        self._log = Logger()
        self._source = source
        self._directory = directory
        self._written = written
        self._cache = cache
        self._pool = pool
        self._revision = 0
        # What the registry named since the start, until all of it is known.
        self._named: set[str] | None = set()
        self._reachable = True
        self._unsubscribe: Callable[[], None] = _not_subscribed
        self._looks = Repeating(
            self._look, LOOK_SECONDS, clock=clock, log=self._log, name="following certificates"
        )

    async def start(self) -> None:
        """Follow the registry. What is there already is served meanwhile."""
        self._unsubscribe = self._cache.subscribe(CHANNEL, lambda _: self._looks.nudge())
        self._looks.start()

    async def stop(self) -> None:
        """Follow no more."""
        self._unsubscribe()
        await self._looks.stop()

    async def _look(self) -> None:
        try:
            while True:
                revision, changes = await self._source.certificates_since(self._revision)
                self._reachable = True
                if self._named is not None:
                    self._named |= {stem_of(change.bundle) for change in changes}
                if not changes:
                    await self._sweep()
                    return
                if await self._pool.run(write_all, self._directory, changes):
                    self._written()
                self._revision = revision
        except StoreUnavailable as error:
            if self._reachable:  # said once, not each second
                self._log.warn("certificates cannot be followed: {error}", error=str(error))
            self._reachable = False
        except OSError as error:
            self._log.error(
                "{directory} cannot be written: {error}",
                directory=str(self._directory),
                error=error.strerror,
            )

    async def _sweep(self) -> None:
        """Remove what the registry has forgotten since this host last ran; once.

        A registry that names nothing at all is no reason to: it may be the wrong one.
        """
        named, self._named = self._named, None
        if named:
            gone = await self._pool.run(remove_others, self._directory, named)
            if gone:
                self._written()


def _not_subscribed() -> None:
    pass


def joined(chain: bytes, key: bytes) -> bytes:
    """Return a certificate with its key as the registry keeps it: PEM, the key last."""
    return chain + key


def split(pair: bytes) -> tuple[bytes, bytes]:
    """Return chain and key of what :func:`joined` made."""
    end = pair.rindex(_END) + len(_END)
    return pair[:end], pair[end:]


def stem_of(bundle: str) -> str:
    """Return what the names of a bundle's folders begin with."""
    if len(bundle) <= _MAX_NAME_CHARACTERS:
        return PREFIX + bundle
    return PREFIX + hashlib.sha256(bundle.encode()).hexdigest()


def remove_others(directory: Path, named: Set[str]) -> bool:
    """Remove the folders of bundles that are not ``named``, and return whether there were any.
    Blocks."""
    others = [
        folder
        for folder in directory.glob(f"{PREFIX}*")
        if folder.name.rpartition("-")[0] not in named
    ]
    workshop = directory.with_name(WORKSHOP)
    workshop.mkdir(mode=0o700, exist_ok=True)
    for folder in others:
        _remove(workshop, folder)
    return bool(others)


def write_all(directory: Path, changes: Sequence[KeptPair]) -> bool:
    """Make the folders of ``changes``, and return whether anything was to be done. Blocks."""
    folders: dict[str, list[Path]] = {}
    for folder in directory.glob(f"{PREFIX}*"):
        folders.setdefault(folder.name.rpartition("-")[0], []).append(folder)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    workshop = directory.with_name(WORKSHOP)
    workshop.mkdir(mode=0o700, exist_ok=True)
    changed = False
    for change in changes:
        stem, pair = stem_of(change.bundle), change.pem
        wanted = None
        if pair is not None:
            version = hashlib.sha256(pair).hexdigest()[:_VERSION_CHARACTERS]
            wanted = directory / f"{stem}-{version}"
            if not wanted.exists():
                _write(workshop, wanted, pair)
                changed = True
        for folder in folders.get(stem, ()):
            if folder != wanted:
                _remove(workshop, folder)
                changed = True
    return changed


def _write(workshop: Path, folder: Path, pair: bytes) -> None:
    new = workshop / secrets.token_hex(8)
    new.mkdir(mode=0o700)
    try:
        for file, content in zip((CHAIN_FILE, KEY_FILE), split(pair), strict=True):
            descriptor = os.open(new / file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
        new.rename(folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if not folder.exists():  # otherwise another instance on this data was faster
            raise


def _remove(workshop: Path, folder: Path) -> None:
    old = workshop / secrets.token_hex(8)
    with suppress(FileNotFoundError):  # another instance on this data was faster
        folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)
