"""Sealing: secrets that lie in the registry, closed with a key that does not.

The key is a file (``security.key_file``) that hosts sharing a registry share. Whoever has only the
database, a backup of it, or the last known sites of a name server, has no private key of any zone.
AES-256-GCM; the context says what a secret belongs to and is checked on opening, so a secret that
was moved to another row does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from watchducks.background import Repeating, ThreadPool
from watchducks.model.seals import SealError

KEY_OCTETS: Final = 32
# As NIST SP 800-38D recommends; 2**32 seals with random ones are safe, and a registry has some.
NONCE_OCTETS: Final = 12
# Enough to tell keys apart in a message; says nothing about the key.
KEY_ID_OCTETS: Final = 4

# A host that was given the file late signs this much later, without a restart.
READ_SECONDS: Final = 10.0

# Version of the sealed form; what a later version sealed is not guessed at.
_FORMAT: Final = b"\x01"


class Sealer:
    """Seals and opens, with the key in one file, which is read once. For any thread.

    :param path: the key file. :meth:`seal` makes it on the first need, unless a key is expected
        (:meth:`expect`); a host that only opens waits for the one that it is given.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._making = threading.Lock()
        self._key: tuple[bytes, AESGCM] | None = None
        self._expected: bytes | None = None
        self._trouble = f"security.key_file: {path} was not read yet"

    @property
    def loaded(self) -> bool:
        """Whether the key file was read."""
        return self._key is not None

    @property
    def key_id(self) -> bytes | None:
        """Tells the key from others, and nothing about it; None: the file was not read."""
        return None if self._key is None else self._key[0]

    @property
    def expects(self) -> bool:
        """Whether it is known which key it has to be."""
        return self._expected is not None

    def there(self) -> bool:
        """Return whether there is a key file, whatever is in it. Blocks."""
        return self._path.exists()

    def expect(self, key_id: bytes) -> None:
        """Use no other key than this one from now on, and make none."""
        with self._making:
            self._expected = key_id
            if self._key is not None and self._key[0] != key_id:
                self._trouble = self._other(self._key[0])
                self._key = None

    def load(self) -> None:
        """Read the key file. Blocks; for a thread.

        :raises SealError: it is missing, no key file, or another one than is expected.
        """
        with self._making:
            self._load()

    def _load(self) -> None:
        try:
            found = _read(self._path)
            if self._expected is not None and found[0] != self._expected:
                raise SealError(self._other(found[0]))
        except SealError as error:
            self._trouble = str(error)
            raise
        self._key = found

    def _other(self, key_id: bytes) -> str:
        expected = b"" if self._expected is None else self._expected
        return (
            f"security.key_file: {self._path} holds the key {key_id.hex()}, and the registry's"
            f" secrets are sealed with {expected.hex()}: copy the file from another host of this"
            " registry, or from a backup"
        )

    def seal(self, secret: bytes, context: bytes) -> bytes:
        """Return ``secret`` closed; makes the key file (mode 0600) if there is none. Blocks.

        :raises SealError: the key file cannot be read or made, or is not the one that is expected.
        """
        with self._making:
            if self._key is None:
                if self._expected is None:
                    _make(self._path)
                self._load()
            assert self._key is not None, "it was loaded just now"
            key_id, cipher = self._key
        nonce = secrets.token_bytes(NONCE_OCTETS)
        return _FORMAT + key_id + nonce + cipher.encrypt(nonce, secret, context)

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """See :class:`watchducks.model.seals.Seals`; the file has to be loaded before."""
        if self._key is None:
            raise SealError(self._trouble)
        key_id, cipher = self._key
        start = len(_FORMAT) + KEY_ID_OCTETS
        if not sealed.startswith(_FORMAT):
            raise SealError("a secret of the registry was sealed by another version of WatchDucks")
        if sealed[len(_FORMAT) : start] != key_id:
            raise SealError(
                f"security.key_file: {self._path} holds the key {key_id.hex()}, and this was sealed"
                f" with {sealed[len(_FORMAT) : start].hex()}: hosts that share a registry share the"
                " file"
            )
        nonce = sealed[start : start + NONCE_OCTETS]
        try:
            return cipher.decrypt(nonce, sealed[start + NONCE_OCTETS :], context)
        except (InvalidTag, ValueError) as error:
            raise SealError(
                "a secret of the registry is damaged, or lies in a wrong row"
            ) from error


class KeyFile:
    """The key file of a name server, which opens the keys of zones, as a part: read at the start,
    or when it comes.

    Where no zone is signed it is not needed, so that a missing one is no error here; who needs it
    (a signed zone, certificates, the keys of visitors) says so.

    :param pool: for reading the file; it belongs to the caller.
    """

    def __init__(self, sealer: Sealer, *, pool: ThreadPool, clock: IReactorTime) -> None:
        self._sealer = sealer
        self._pool = pool
        self._reads = Repeating(
            self._read, READ_SECONDS, clock=clock, log=Logger(), name="reading the key file"
        )

    async def start(self) -> None:
        """Read the file, and look for it again until it is there."""
        await self._read()
        self._reads.start()

    async def stop(self) -> None:
        """Look for it no more."""
        await self._reads.stop()

    async def _read(self) -> None:
        if not self._sealer.loaded:
            with suppress(SealError):
                await self._pool.run(self._sealer.load)


def _make(path: Path) -> None:
    """Make the key file if there is none. Processes that try at the same time agree on one."""
    if path.exists():
        return
    line = base64.b64encode(secrets.token_bytes(KEY_OCTETS)) + b"\n"
    # Under its own name only when complete; the link fails if somebody was first.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return
        finally:
            temporary.unlink()
    except OSError as error:
        raise SealError(f"security.key_file: cannot make {path}: {error.strerror}") from error


def _read(path: Path) -> tuple[bytes, AESGCM]:
    """Return the key's id and the cipher with it."""
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except OSError as error:
        raise SealError(
            f"security.key_file: cannot read {path}: {error.strerror}; it has to be copied from"
            " another host of this registry, or from a backup"
        ) from error
    except binascii.Error:
        key = b""
    if len(key) != KEY_OCTETS:
        raise SealError(f"security.key_file: {path} holds no key: {KEY_OCTETS} octets in base64")
    return hashlib.sha256(b"watchducks key id" + key).digest()[:KEY_ID_OCTETS], AESGCM(key)
