"""Links in letters that stop letters of their kind, without signing in (RFC 2369, RFC 8058).

What a link stops is sealed in it: nobody makes one up, it says nothing about whom it was sent to,
and nothing has to be kept for it. It is good for as long as the key.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

from watchducks.model.letters import Letter
from watchducks.model.seals import SealError
from watchducks.model.subjects import Subscription, subscription_of

# What the seals belong to.
_CONTEXT: Final = b"a link to unsubscribe"
# The longest address, sealed, in base64, is shorter; nothing longer is opened.
MAX_CODE_CHARACTERS: Final = 512

# Closes or opens: (octets, context) -> octets. :raises SealError: it cannot, here.
SealWork = Callable[[bytes, bytes], Awaitable[bytes]]


class Unsubscribing:
    """
    :param url: the console's, without a "/" at its end.
    """

    def __init__(self, url: str, *, seal: SealWork, unseal: SealWork) -> None:
        self._url = url
        self._seal = seal
        self._unseal = unseal

    async def link(self, letter: Letter) -> str:
        """Return the address that stops letters like this; "": nobody may stop them.

        :raises SealError: there is no key here to make it with.
        """
        its = subscription_of(letter)
        if its is None:
            return ""
        sealed = await self._seal(its.pack(), _CONTEXT)
        return f"{self._url}/letters/{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"

    async def read(self, code: str) -> Subscription | None:
        """Return what a link stops, by what follows "/letters/" in it; None: it is none of ours."""
        if len(code) > MAX_CODE_CHARACTERS or not code.isascii():
            return None
        try:
            sealed = base64.b64decode(code + "=" * (-len(code) % 4), altchars=b"-_", validate=True)
            return Subscription.unpack(await self._unseal(sealed, _CONTEXT))
        except (binascii.Error, SealError, ValueError):
            return None
