"""Seals: how parts that may not know each other hand over secrets that are closed."""

from __future__ import annotations

from typing import Protocol


class SealError(Exception):
    """It cannot be sealed or opened; the text is one line for the sysadmin."""


class Seals(Protocol):
    """Opens what lies closed in the registry; offered by :mod:`watchducks.registry.sealing`."""

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """Return what was sealed for this context, without blocking.

        :raises SealError: our key is missing or another one, or this is not what was sealed.
        """
