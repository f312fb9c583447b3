"""Zone keys for tests: real ones, in seals that anybody can open."""

from __future__ import annotations

from functools import cache

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from watchducks.model.seals import SealError
from watchducks.model.signing import ZoneKey, apex_name, seal_context


def glass(secret: bytes, context: bytes) -> bytes:
    """Seal, so to speak."""
    return secret.hex().encode() + b"|" + context


class GlassSeals:
    """Opens what :func:`glass` sealed.

    :ivar lost: nothing can be opened, as without the key file.
    :ivar opened: how many times something was.
    """

    def __init__(self) -> None:
        self.lost = False
        self.opened = 0

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        if self.lost:
            raise SealError("security.key_file: it is lost")
        secret, _, expected = sealed.partition(b"|")
        if context != expected:
            raise SealError("it lies in a wrong row")
        self.opened += 1
        return bytes.fromhex(secret.decode())


@cache
def zone_key(number: int = 1, zone: str = "example.com") -> ZoneKey:
    """Return a key of ``zone``; the same number gives the same key."""
    public = derive_private_key(number, SECP256R1()).public_key().public_numbers()
    sealed = glass(number.to_bytes(32), seal_context(apex_name(zone)))
    return ZoneKey(public.x.to_bytes(32) + public.y.to_bytes(32), sealed)
